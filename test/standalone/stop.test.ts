import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { GRACE_MS, serveConnections } from '../../src/standalone/connections.ts'
import { startDeaf, startSleeper } from '../support/processes.ts'
import { killRequest, openRaw, refusesConnections } from '../support/raw.ts'
import { health, startServer } from '../support/server.ts'

describe.concurrent('a stop of the built file', () => {
  test.each([
    ['SIGTERM', ['SIGINT', 'SIGTERM', 'SIGHUP']],
    ['SIGINT', ['SIGTERM']],
    ['SIGHUP', ['SIGHUP']],
  ] as const)('by %s ends waits, lets a request arrive, and exits 0; %j changes nothing', async (signal, more) => {
    await using server = await startServer()
    using target = startSleeper()
    using deaf = await startDeaf()
    using connection = await openRaw(server.url)
    const request = killRequest(JSON.stringify({ pid: target.pid }), { connection: 'keep-alive' })
    connection.socket.write(request.subarray(0, -3))
    expect(await health(server.url)).toBe(200)
    const waits = [1, 2].map(() => server.kill({ pid: deaf.pid, waitMs: 60_000 }))
    const count = (outcome: string) => server.records.filter((record) => record['outcome'] === outcome).length
    await server.record(() => count('sent') === 2)
    const closed = once(server.child, 'close')
    server.child.kill(signal)
    await server.says(new RegExp(`"message":"stopping on ${signal}"`))
    await refusesConnections(server.url)
    for (const wait of waits) expect(await wait).toMatchObject({ status: 200, text: '{"ok":true,"exited":false}' })
    for (const another of more) server.child.kill(another)
    connection.socket.write(request.subarray(-3))
    expect(await connection.closed).toMatch(/^HTTP\/1\.1 200 OK\r\n[^{]*Connection: close\r\n[^{]*\{"ok":true\}$/)
    expect(await closed).toEqual([0, null])
    expect(await target.ended).toBe('SIGTERM')
    expect([count('sent'), count('running')]).toEqual([3, 2])
    expect(server.stdout().match(/stopping/g)).toHaveLength(1)
  })

  test('exits 0 although a client never sends the rest of its request', async () => {
    await using server = await startServer()
    using target = startSleeper()
    using connection = await openRaw(server.url)
    connection.socket.write(killRequest(JSON.stringify({ pid: target.pid })).subarray(0, -3))
    expect(await health(server.url)).toBe(200)
    expect(await server.stop()).toBe(0)
    expect(target.isAlive()).toBe(true)
  })
})

describe('a stop of the connections', () => {
  afterEach(() => vi.useRealTimers())

  const start = async () => {
    const { server, answerWith, stop } = serveConnections(createServer)
    answerWith(() => {})
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
    const open = async () => {
      const connection = await openRaw(url)
      const ask = async (): Promise<ServerResponse> => {
        const received = once(server, 'request')
        connection.socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
        return (await received)[1]
      }
      return { ...connection, ask }
    }
    // From here on, the time of the server passes only in the tests.
    vi.useFakeTimers({ toFake: ['setTimeout'] })
    return { stop, open }
  }

  test('answers a request on an idle connection for half a second more, then closes it, and one with half a head', async () => {
    const { stop, open } = await start()
    using busy = await open()
    using idle = await open()
    using half = await open()
    half.socket.write('GET / HTTP')
    for (const { ask } of [busy, idle]) (await ask()).end('before')
    for (const { until } of [busy, idle]) await until(/before/)
    const stopped = stop()
    vi.advanceTimersByTime(400)
    const after = await busy.ask()
    after.end('after')
    expect(await busy.closed).toMatch(/Connection: close\r\n[\s\S]*after/)
    expect(idle.socket.closed).toBe(false)
    vi.advanceTimersByTime(100)
    await idle.closed
    // By the stop: a time limit would answer 408.
    expect(await half.closed).toBe('')
    await stopped
  })

  test('waits for an answer that is due, at most 4 seconds', async () => {
    const { stop, open } = await start()
    using answered = await open()
    using forgotten = await open()
    const due = await answered.ask()
    await forgotten.ask()
    const stopped = stop()
    vi.advanceTimersByTime(GRACE_MS - 1)
    due.end('late')
    expect(await answered.closed).toMatch(/Connection: close\r\n[\s\S]*late/)
    expect(forgotten.socket.closed).toBe(false)
    vi.advanceTimersByTime(1)
    expect(await forgotten.closed).toBe('')
    await stopped
  })
})
