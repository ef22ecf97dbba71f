import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { pinned } from './servers.mjs'

const run = promisify(execFile)
const SCRIPT = fileURLToPath(new URL('load.lua', import.meta.url))

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
  // By then it has compiled what it runs often.
  const enough = server.cpuSeconds() + 0.6
  while (server.cpuSeconds() < enough) await load(server, question)
}

/** What clients that wait for an exit cost the server: the share of a core, in per cent. */
export const costOfWaiting = async ({ url, headers, cpuSeconds }, pid, { clients = 256, seconds = 4 } = {}) => {
  const leaving = new AbortController()
  const body = JSON.stringify({ pid, waitMs: 60_000 })
  const init = { method: 'POST', headers, body, signal: leaving.signal }
  const waits = Promise.race(Array.from({ length: clients }, () => fetch(url, init)))
  await sleep(2000)
  const before = cpuSeconds()
  await sleep(seconds * 1000)
  const used = cpuSeconds() - before
  leaving.abort()
  await assert.rejects(waits, { name: 'AbortError' }, 'an answer before the exit')
  return (used / seconds) * 100
}
