import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { pinned } from './children.mjs'

const run = promisify(execFile)
const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const autocannon = here('node_modules/autocannon/autocannon.js')
const CONNECTIONS = 32
/** After how much processor time a server has compiled what it runs often. */
const WARM_SECONDS = 0.6

/** What it costs is not counted: the figure is the processor time of the server. */
export const GENERATOR = spawnSync('wrk', ['--version']).error ? 'autocannon' : 'wrk'

const ask = async ({ url, headers }, text) => {
  const lines = Object.entries(headers).flatMap((header) => ['-H', header.join(': ')])
  const common = ['-c', String(CONNECTIONS), '-d', '1', ...lines]
  if (GENERATOR === 'wrk') {
    const env = { ...process.env, BODY: text }
    const { stdout } = await run(...pinned('wrk', ['-t', '1', ...common, '-s', here('load.lua'), url]), { env })
    return JSON.parse(stdout.slice(stdout.lastIndexOf('{')))
  }
  const args = [autocannon, '-j', '-n', '-m', 'POST', ...common, '-b', text, url]
  const { requests, latency, errors, ...counts } = JSON.parse((await run(...pinned(process.execPath, args))).stdout)
  return { requests: requests.total, above399: counts['4xx'] + counts['5xx'], failed: errors, p99: latency.p99 }
}

/**
 * Sends a body over and over for a second, from a process on the server's core, over 32 connections.
 *
 * @returns the server's processor time a request in µs, and the 99th percentile of the time to the answer in ms.
 */
export const load = async (server, { status, body }) => {
  const before = server.cpuSeconds()
  const { requests, above399, failed, p99 } = await ask(server, JSON.stringify(body))
  const cpuMicros = ((server.cpuSeconds() - before) / requests) * 1e6
  assert.equal(failed, 0, `requests to ${server.name} that failed`)
  assert.equal(above399, status > 399 ? requests : 0, `answers of ${server.name} that are no success`)
  return { cpuMicros, p99 }
}

/** Sends a body until the server is warm, however little of the core it gets. */
export const warmUp = async (server, question) => {
  const enough = server.cpuSeconds() + WARM_SECONDS
  while (server.cpuSeconds() < enough) await load(server, question)
}
