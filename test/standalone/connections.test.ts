import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { describe, expect, test, vi } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { GRACE_MS } from '../../src/standalone/connections.ts'
import { killRequest, openRaw, refusesConnections } from '../support/raw.ts'
import { health, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'

describe.concurrent('a stop', () => {
  const halfOf = (pid: number) => {
    const request = killRequest(JSON.stringify({ pid }), { connection: 'keep-alive' })
    return [request.subarray(0, -3), request.subarray(-3)] as const
  }

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)(
    'on %s finishes what is in flight, takes no more, and exits 0',
    async (signal) => {
      await using server = await startServer()
      using target = await startTarget()
      using connection = await openRaw(server.url)
      const [first, rest] = halfOf(target.pid)
      connection.socket.write(first)
      expect(await health(server.url)).toBe(200)
      server.child.kill(signal)
      await refusesConnections(server.url)
      connection.socket.write(rest)
      expect(await connection.until(/true\}$/)).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
      const answered = performance.now()
      expect(await once(server.child, 'exit')).toEqual([0, null])
      expect(performance.now() - answered).toBeLessThan(GRACE_MS)
      expect(await target.ended).toBe('SIGTERM')
      expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({ outcome: 'sent' })
    },
  )

  test.each(['the head', 'the body'])(
    'waits 4 seconds for a client that holds half of %s, and exits 0',
    async (part) => {
      await using server = await startServer()
      using target = await startTarget()
      using connection = await openRaw(server.url)
      connection.socket.write(
        part === 'the head' ? 'POST /api/connections/kill HTTP/1.1\r\nHost: lo' : halfOf(target.pid)[0],
      )
      expect(await health(server.url)).toBe(200)
      const start = performance.now()
      expect(await server.stop()).toBe(0)
      const took = performance.now() - start
      expect(took).toBeGreaterThan(3900)
      // It is 5 seconds at most; a busy machine may add to that.
      expect(took).toBeLessThan(8000)
      expect(target.isAlive()).toBe(true)
    },
  )

  test('is not cut short by a second signal: what is in flight is answered and on record', async () => {
    await using server = await startServer()
    using target = await startTarget()
    using connection = await openRaw(server.url)
    const [first, rest] = halfOf(target.pid)
    connection.socket.write(first)
    expect(await health(server.url)).toBe(200)
    const exited = once(server.child, 'exit')
    server.child.kill('SIGTERM')
    await refusesConnections(server.url)
    server.child.kill('SIGINT')
    server.child.kill('SIGTERM')
    connection.socket.write(rest)
    expect(await connection.until(/true\}$/)).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(await exited).toEqual([0, null])
    expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({ outcome: 'sent' })
  })

  test('answers who waits for an exit at once, with exited: false', async () => {
    await using server = await startServer()
    using target = await startTarget('process.on("SIGTERM", () => process.stdout.write("got it"))')
    const answer = server.kill({ pid: target.pid, waitMs: 60_000 })
    if (target.child.stdout) await once(target.child.stdout, 'data')
    const start = performance.now()
    expect(await server.stop()).toBe(0)
    expect(performance.now() - start).toBeLessThan(GRACE_MS)
    expect(await answer).toMatchObject({ status: 200, text: '{"ok":true,"exited":false}' })
  })

  test('fails no request of a client that keeps its connection busy', async () => {
    await using server = await startServer()
    const agent = new Agent({ keepAlive: true })
    const { port } = new URL(server.url)
    /** Asks until the server closes the connection behind an answer; how many answers came. */
    const keepAsking = async () => {
      for (let answered = 0; ; answered++) {
        const sending = request({
          port,
          agent,
          method: 'POST',
          path: KILL_PATH,
          headers: { 'content-type': 'application/json' },
        })
        sending.end('{"pid":0}')
        const [response] = await once(sending, 'response')
        for await (const _ of response);
        expect(response.statusCode).toBe(400)
        if (response.headers.connection === 'close') return answered + 1
        if (answered === 5) asking++
      }
    }
    let asking = 0
    const clients = Array.from({ length: 16 }, keepAsking)
    await vi.waitFor(() => expect(asking).toBe(16), 15_000)
    server.child.kill('SIGTERM')
    for (const answers of await Promise.all(clients)) expect(answers).toBeGreaterThan(5)
    expect(await once(server.child, 'exit')).toEqual([0, null])
  })

  test('answers what is pipelined, closes behind the last of it, and obeys nothing that comes later', async () => {
    await using server = await startServer()
    using stubborn = await startTarget('process.on("SIGTERM", () => {})')
    using late = await startTarget()
    using connection = await openRaw(server.url)
    const kill = (body: object) => killRequest(JSON.stringify(body), { connection: 'keep-alive' })
    const wait = kill({ pid: stubborn.pid, waitMs: 60_000 })
    connection.socket.write(Buffer.concat([wait, wait, wait]))
    await vi.waitFor(() => expect(server.records).toHaveLength(3), 15_000)
    server.child.kill('SIGTERM')
    await connection.until(/(HTTP[\s\S]*){3}\}/)
    connection.socket.write(kill({ pid: late.pid }))
    const answers = (await connection.closed).split(/(?=HTTP)/)
    expect(answers).toHaveLength(3)
    for (const answer of answers) expect(answer).toContain('{"ok":true,"exited":false}')
    expect(answers.map((answer) => answer.includes('Connection: close'))).toEqual([false, false, true])
    expect(late.isAlive()).toBe(true)
    expect(server.records.filter(({ pid }) => pid === late.pid)).toEqual([])
  })

  test('answers a request that comes behind answers given before it, and closes then', async () => {
    await using server = await startServer()
    using connection = await openRaw(server.url)
    const bad = killRequest('{"pid":0}', { connection: 'keep-alive' })
    connection.socket.write(bad)
    await connection.until(/pid"\}/)
    server.child.kill('SIGTERM')
    await refusesConnections(server.url)
    connection.socket.write(Buffer.concat([bad, bad]))
    const answers = (await connection.closed).split(/(?=HTTP)/)
    expect(answers.map((answer) => answer.includes('Connection: close'))).toEqual([false, false, true])
  })
})

describe('a signal that went out is on record', () => {
  /** Targets that say that they got the signal, and live on. */
  const startDeaf = () => startTarget('process.on("SIGTERM", () => process.stdout.write("got it"))')

  test.each(['SIGKILL', 'SIGTERM'] as const)(
    'while the request still waits for the exit, when the server gets %s',
    async (signal) => {
      await using server = await startServer()
      using target = await startDeaf()
      const answer = server.kill({ pid: target.pid, waitMs: 60_000 }).catch(() => undefined)
      const record = await server.record(({ pid }) => pid === target.pid)
      expect(record).toMatchObject({ outcome: 'sent', status: 200 })
      server.child.kill(signal)
      await once(server.child, 'close')
      await answer
      const outcomes = server.records.filter(({ id }) => id === record['id']).map(({ outcome }) => outcome)
      expect(outcomes).toEqual(signal === 'SIGKILL' ? ['sent'] : ['sent', 'running'])
    },
  )

  test('for all of 50 pipelined waits whose client leaves, though the server is stopped at once', async () => {
    await using server = await startServer()
    using target = await startDeaf()
    {
      using connection = await openRaw(server.url)
      const one = killRequest(JSON.stringify({ pid: target.pid, waitMs: 60_000 }), { connection: 'keep-alive' })
      connection.socket.write(Buffer.concat(Array.from({ length: 50 }, () => one)))
      await server.record(({ pid }) => pid === target.pid)
    }
    server.child.kill('SIGTERM')
    await once(server.child, 'close')
    const outcomes = server.records.filter(({ pid }) => pid === target.pid).map(({ outcome }) => outcome)
    expect(outcomes.filter((outcome) => outcome === 'sent')).toHaveLength(50)
    expect(outcomes.filter((outcome) => outcome === 'running')).toHaveLength(50)
  })
})

describe('a wait ends with its connection', () => {
  test('also where its answer is queued behind others', async () => {
    await using server = await startServer()
    using target = await startTarget('process.on("SIGTERM", () => {})')
    {
      using connection = await openRaw(server.url)
      const one = killRequest(JSON.stringify({ pid: target.pid, waitMs: 20_000 }), { connection: 'keep-alive' })
      connection.socket.write(Buffer.concat([one, one, one]))
      await vi.waitFor(() => expect(server.records).toHaveLength(3), 15_000)
    }
    const left = performance.now()
    await vi.waitFor(
      () => expect(server.records.filter(({ outcome }) => outcome === 'running')).toHaveLength(3),
      15_000,
    )
    expect(performance.now() - left).toBeLessThan(10_000)
  })
})

describe('what comes behind a request in one packet', () => {
  const keep = { connection: 'keep-alive' }
  const HEALTH = 'GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'
  const statuses = (text: string) => text.match(/HTTP\/1\.1 \d+/g)?.map((line) => Number(line.slice(9)))

  test.each([
    ['a health check', () => HEALTH, [200, 405]],
    ['a wait', (pid: number) => killRequest(JSON.stringify({ pid, waitMs: 100 }), keep).toString(), [200, 405]],
  ])('a CONNECT behind %s is answered in its turn, and takes down nobody', async (_name, before, answers) => {
    await using server = await startServer()
    using target = await startTarget('process.on("SIGTERM", () => {})')
    using connection = await openRaw(server.url)
    connection.socket.write(`${before(target.pid)}CONNECT a:1 HTTP/1.1\r\n\r\n`)
    expect(statuses(await connection.closed)).toEqual(answers)
    expect(await health(server.url)).toBe(200)
  })

  test('a tunnel that a client holds open, with bytes behind it, is closed', async () => {
    await using server = await startServer()
    using connection = await openRaw(server.url)
    connection.socket.write('CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\nhello')
    expect(statuses(await connection.closed)).toEqual([405])
    const start = performance.now()
    expect(await server.stop()).toBe(0)
    expect(performance.now() - start).toBeLessThan(GRACE_MS)
  })

  test.each([
    ['garbage', 'GARBAGE\r\n\r\n', 100],
    ['a request whose time is up', 'POST /api/conn', 7000],
  ])('%s takes away no answer to a kill', async (_name, behind, waitMs) => {
    await using server = await startServer()
    using target = await startTarget('process.on("SIGTERM", () => {})')
    using connection = await openRaw(server.url)
    const kill = killRequest(JSON.stringify({ pid: target.pid, waitMs }), keep)
    connection.socket.write(Buffer.concat([kill, Buffer.from(behind)]))
    const text = await connection.closed
    expect(statuses(text)).toEqual([200])
    expect(text).toContain('{"ok":true,"exited":false}')
  })

  test('a request to upgrade is answered, and the connection closes behind it', async () => {
    await using server = await startServer()
    using connection = await openRaw(server.url)
    connection.socket.write(
      HEALTH.replace('\r\n\r\n', '\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n') + HEALTH.repeat(2),
    )
    const text = await connection.closed
    expect(statuses(text)).toEqual([200])
    expect(text).toContain('Connection: close')
  })

  test('thousands behind a wait end that connection alone, and its wait', async () => {
    await using server = await startServer()
    using target = await startTarget('process.on("SIGTERM", () => {})')
    using connection = await openRaw(server.url)
    const wait = killRequest(JSON.stringify({ pid: target.pid, waitMs: 60_000 }), keep)
    connection.socket.write(wait)
    await server.record(({ outcome }) => outcome === 'sent')
    // Of these nothing is written before their turn, so that Node's own limit of answers in a queue does not count them.
    connection.socket.write('POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n'.repeat(6000))
    expect(await connection.closed).toBe('')
    expect(await server.record(({ outcome }) => outcome === 'running')).toMatchObject({ pid: target.pid })
    expect(await health(server.url)).toBe(200)
  })
})

test('what goes wrong in a body behind a wait is not answered in place of the wait', async () => {
  await using server = await startServer()
  using target = await startTarget('process.on("SIGTERM", () => {})')
  using connection = await openRaw(server.url)
  const wait = killRequest(JSON.stringify({ pid: target.pid, waitMs: 5000 }), { connection: 'keep-alive' })
  const broken = 'POST /api/connections/kill HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'
  connection.socket.write(Buffer.concat([wait, Buffer.from(broken)]))
  expect(await connection.closed).toBe('')
  expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({ outcome: 'sent' })
})
