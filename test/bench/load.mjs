import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { pinned } from './servers.mjs'

const run = promisify(execFile)
const SCRIPT = fileURLToPath(new URL('load.lua', import.meta.url))
/** After how much processor time a server has compiled what it runs often. */
const WARM_SECONDS = 0.6

/**
 * Lets wrk send a body over and over for a second, from the server's core, over 32 connections.
 *
 * @returns the server's processor time a request in µs, and the 99th percentile of the time to the answer in ms.
 */
export const load = async (server, { status, body }) => {
  const headers = Object.entries(server.headers).flatMap((header) => ['-H', header.join(': ')])
  const command = pinned('wrk', ['-t', '1', '-c', '32', '-d', '1', ...headers, '-s', SCRIPT, server.url])
  const before = server.cpuSeconds()
  const { stdout } = await run(...command, { env: { ...process.env, BODY: JSON.stringify(body) } })
  const { requests, above399, failed, p99 } = JSON.parse(stdout.slice(stdout.lastIndexOf('{')))
  assert.equal(failed, 0, `requests to ${server.name} that failed`)
  assert.equal(above399, status > 399 ? requests : 0, `answers of ${server.name} that are no success`)
  return { cpuMicros: ((server.cpuSeconds() - before) / requests) * 1e6, p99 }
}

/** Sends a body until the server is warm, however little of the core it gets. */
export const warmUp = async (server, question) => {
  const enough = server.cpuSeconds() + WARM_SECONDS
  while (server.cpuSeconds() < enough) await load(server, question)
}
