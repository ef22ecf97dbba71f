import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'

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
