import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const autocannon = here('node_modules/autocannon/autocannon.js')

export const GENERATOR = spawnSync('wrk', ['--version']).error ? 'autocannon' : 'wrk'

/** Sends a body over and over from another process; resolves with requests a second and the 99th percentile in ms. */
export const load = async ({ url, headers, body, connections, seconds = 1 }) => {
  const lines = Object.entries(headers).flatMap((header) => ['-H', header.join(': ')])
  const common = ['-c', String(connections), '-d', String(seconds), ...lines]
  if (GENERATOR === 'wrk') {
    const env = { ...process.env, BODY: body }
    const { stdout } = await run('wrk', ['-t', '1', ...common, '-s', here('load.lua'), url], { env })
    return JSON.parse(stdout.slice(stdout.lastIndexOf('{')))
  }
  const { stdout } = await run(process.execPath, [autocannon, '-j', '-n', '-m', 'POST', ...common, '-b', body, url])
  const { requests, latency } = JSON.parse(stdout)
  return { rate: requests.average, p99: latency.p99 }
}
