import { execFile, spawnSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { TOKEN } from './servers.mjs'

const run = promisify(execFile)
const hasWrk = spawnSync('wrk', ['--version']).error === undefined
const autocannon = fileURLToPath(new URL('node_modules/autocannon/autocannon.js', import.meta.url))
const script = join(mkdtempSync(join(tmpdir(), 'psys-kill-wrk-')), 'kill.lua')
writeFileSync(
  script,
  `wrk.method = 'POST'
wrk.body = os.getenv('BODY')
wrk.headers['Content-Type'] = 'application/json'
wrk.headers['Authorization'] = 'Bearer ${TOKEN}'
done = function(summary, latency)
  io.stderr:write(string.format('{"rate":%f,"p99":%f}', summary.requests / summary.duration * 1e6, latency:percentile(99) / 1000))
end`,
)

export const GENERATOR = hasWrk ? 'wrk' : 'autocannon'

/** Sends a body over and over from another process; resolves with requests a second and the 99th percentile in ms. */
export const load = async ({ url, body, connections, seconds }) => {
  if (hasWrk) {
    const args = ['-t1', `-c${connections}`, `-d${seconds}s`, '-s', script, url]
    const { stderr } = await run('wrk', args, { env: { ...process.env, BODY: body } })
    return JSON.parse(stderr)
  }
  const headers = ['-H', 'Content-Type: application/json', '-H', `Authorization: Bearer ${TOKEN}`]
  const args = ['-j', '-n', '-m', 'POST', '-c', String(connections), '-d', String(seconds), ...headers, '-b', body, url]
  const { stdout } = await run(process.execPath, [autocannon, ...args])
  const { requests, latency } = JSON.parse(stdout)
  return { rate: requests.average, p99: latency.p99 }
}
