import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { describeWith } from '../support/needs.ts'
import { exchange, killRequest, openRaw } from '../support/raw.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { startTarget, type Target } from '../support/target.ts'

const MAX_WAITS = 2000
const PAST = '2020-02-02T02:02:02Z'
const PIPELINED = 2000
const CONNECTIONS = 60

describeWith(['Linux'], 'requests that wait for an exit, pipelined without reading an answer', () => {
  let server: RunningServer
  let deaf: Target
  let canary: Target
  beforeAll(async () => {
    server = await startServer()
    deaf = await startTarget('process.on("SIGTERM", () => {})')
    canary = await startTarget()
  })
  afterAll(async () => {
    deaf[Symbol.dispose]()
    canary[Symbol.dispose]()
    await server[Symbol.asyncDispose]()
  })

  const wait = (waitMs: number) => killRequest(JSON.stringify({ pid: deaf.pid, waitMs }), { connection: 'keep-alive' })
  const statusMb = (field: string) => {
    const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8')
    return Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024
  }
  const openFiles = () => readdirSync(`/proc/${server.child.pid}/fd`).length
  const count = (outcome: string) => server.records.filter((record) => record['outcome'] === outcome).length

  test('2,000 may wait at once; one more is a 503, and does not signal', async () => {
    {
      using first = await openRaw(server.url)
      using second = await openRaw(server.url)
      for (const { socket } of [first, second])
        socket.write(Buffer.concat(Array.from({ length: MAX_WAITS / 2 }, () => wait(60_000))))
      await vi.waitFor(() => expect(count('sent')).toBe(MAX_WAITS), { timeout: 20_000 })
      const refused = await exchange(server.url, killRequest(JSON.stringify({ pid: canary.pid, waitMs: 0 })))
      expect(refused).toMatchObject({ status: 503, body: '{"error":"Too many waits"}' })
      expect(refused.headers['retry-after']).toBe('1')
      expect(await server.record(({ outcome }) => outcome === 'too many waits')).toMatchObject({ pid: canary.pid })
      const plain = await exchange(server.url, killRequest(JSON.stringify({ pid: deaf.pid })))
      expect(plain).toMatchObject({ status: 200, body: '{"ok":true}' })
    }
    await vi.waitFor(() => expect(count('running')).toBe(MAX_WAITS), { timeout: 20_000 })
    expect(canary.isAlive()).toBe(true)
  })

  test(`keep memory below 200 MB when ${PIPELINED} come on each connection and it is closed at once`, async () => {
    const before = openFiles()
    const burst = Buffer.concat(Array.from({ length: PIPELINED }, () => wait(20_000)))
    for (let i = 0; i < CONNECTIONS; i++) {
      const { socket } = await openRaw(server.url)
      const closed = once(socket, 'close')
      socket.resume()
      socket.write(burst, () => socket.destroy())
      await closed
    }
    // Behind all that the kernel has kept for it.
    const answer = await exchange(server.url, killRequest(JSON.stringify({ pid: canary.pid, startedBefore: PAST })))
    expect(answer).toMatchObject({ status: 404 })
    await vi.waitFor(() => expect(openFiles()).toBeLessThanOrEqual(before), 10_000)
    expect(await exchange(server.url, wait(0))).toMatchObject({ status: 200, body: '{"ok":true,"exited":false}' })
    const [now, peak] = [statusMb('VmRSS'), statusMb('VmHWM')]
    console.log(
      `${CONNECTIONS} connections: ${now.toFixed(0)} MB, ${peak.toFixed(0)} at most; ${count('sent')} records of signals`,
    )
    expect(peak).toBeLessThan(200)
    expect(server.child.exitCode).toBe(null)
    expect(canary.isAlive()).toBe(true)
  })
})
