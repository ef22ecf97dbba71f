import { once } from 'node:events'
import { createServer, type IncomingMessage, ServerResponse } from 'node:http'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { serveConnections } from '../../src/standalone/connections.ts'
import { startDeaf, startSleeper, type Target } from '../support/processes.ts'
import { exchange, killRequest, openRaw } from '../support/raw.ts'
import { health, type RunningServer, startServer } from '../support/server.ts'

const KEEP = { connection: 'keep-alive' }
const kill = (body: object, headers: Record<string, string> = KEEP) => killRequest(JSON.stringify(body), headers)
const get = (...headers: string[]) => ['GET /healthz HTTP/1.1', 'Host: localhost', ...headers, '', ''].join('\r\n')
const statuses = (text: string) => text.match(/HTTP\/1\.1 \d+/g)?.map((line) => Number(line.slice(9)))
/** The headers that a request may have. */
const headers = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: x`)
const CHUNKED = { 'content-length': '', 'transfer-encoding': 'chunked' }

let server: RunningServer
let deaf: Target
let canary: Target
beforeAll(async () => {
  server = await startServer()
  deaf = await startDeaf()
  canary = startSleeper()
})
afterAll(async () => {
  const closed = once(server.child, 'close')
  await server.stop()
  await closed
  expect(canary.isAlive()).toBe(true)
  expect(server.stderr()).not.toMatch(/\n +at /)
  const wrong = server.records.filter(({ pid, path }) => pid === canary.pid || path === '/not-http')
  expect(wrong).toEqual([])
  for (const target of [deaf, canary]) target[Symbol.dispose]()
})

/** A kill that waits. Its records have the comment. */
const wait = (comment: string) => kill({ pid: deaf.pid, waitMs: 60_000, comment })
const recorded = (comment: string, outcome: string) =>
  server.record((record) => record['comment'] === comment && record['outcome'] === outcome)

describe('one request at a time:', () => {
  test('of two kills in one packet the second is not obeyed', async () => {
    using target = startSleeper()
    using connection = await openRaw(server.url)
    connection.socket.write(Buffer.concat([kill({ pid: target.pid }), kill({ pid: canary.pid })]))
    expect(statuses(await connection.closed)).toEqual([200])
    expect(await target.ended).toBe('SIGTERM')
    expect(await health(server.url)).toBe(200)
  })

  const early: [what: string, bytes: () => string | Buffer][] = [
    ['a kill', () => kill({ pid: canary.pid })],
    ['half of a kill', () => kill({ pid: canary.pid }).subarray(0, -3)],
    ['a kill without Host', () => kill({ pid: canary.pid }, { host: '' })],
    ['a kill that expects 100-continue', () => kill({ pid: canary.pid }, { expect: '100-continue' })],
    ['a kill with an unknown Expect', () => kill({ pid: canary.pid }, { expect: 'foo' })],
    ['a kill with 200 headers', () => kill({ pid: canary.pid }, { x: `x\r\n${headers(200).join('\r\n')}` })],
    ['a CONNECT', () => 'CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n'],
    ['an upgrade', () => get('Connection: Upgrade', 'Upgrade: websocket')],
    ['garbage', () => 'GARBAGE\r\n\r\n'],
    ['a head that is too long', () => get(`X: ${'x'.repeat(20_000)}`)],
    ['a broken chunk', () => kill({}, CHUNKED)],
    ['thousands of requests', () => get().repeat(6000)],
  ]
  const ways = early.flatMap((each) => [['in one packet', ...each] as const, ['in a later packet', ...each] as const])

  test.each(ways)('a wait ends and is answered if there comes, %s, %s', async (way, what, bytes) => {
    using connection = await openRaw(server.url)
    const [first, then] = [wait(way + what), Buffer.from(bytes())]
    connection.socket.write(way === 'in one packet' ? Buffer.concat([first, then]) : first)
    await recorded(way + what, 'sent')
    if (way !== 'in one packet') connection.socket.write(then)
    const text = await connection.closed
    expect(statuses(text)).toEqual([200])
    expect(text).toMatch(/\r\nConnection: close\r\n[^{]*\{"ok":true,"exited":false\}$/)
    await recorded(way + what, 'running')
  })

  test('a wait ends when its client closes the connection', async () => {
    using connection = await openRaw(server.url)
    connection.socket.write(wait('leaves'))
    await recorded('leaves', 'sent')
    connection.socket.destroy()
    await recorded('leaves', 'running')
  })

  // Node may have sent this answer before it parses the next request: nothing waits for the body.
  test.each<[what: string, first: Buffer | string, status: number]>([
    ['an unknown path', killRequest('x', { ...KEEP, path: '/x' }), 404],
    ['a foreign Host', killRequest('x', { ...KEEP, host: 'evil.example' }), 403],
    ['a body of another type', killRequest('{}', { ...KEEP, 'content-type': '' }), 400],
    ['a body that is too large', killRequest(' '.repeat(5000), KEEP), 413],
    ['a health check', get(), 200],
  ])('after %s, a kill in the same packet is not obeyed', async (_what, first, status) => {
    using connection = await openRaw(server.url)
    connection.socket.write(Buffer.concat([Buffer.from(first), kill({ pid: canary.pid })]))
    expect(statuses(await connection.closed)).toEqual([status])
  })
})

describe('without an answer that is due,', () => {
  test('a body may come in 128 pieces; with more the connection closes, and nothing is killed', async () => {
    const inChunks = (text: string) => {
      const head = String(killRequest('', { 'content-length': '', 'transfer-encoding': 'chunked' }))
      return [head, ...[...text].map((char) => `1\r\n${char}\r\n`), '0\r\n\r\n'].join('')
    }
    expect(await exchange(server.url, inChunks('{"pid":0}'.padEnd(128)))).toMatchObject({ status: 400 })
    using connection = await openRaw(server.url)
    connection.socket.write(inChunks(`{"pid":${canary.pid}}`.padEnd(129)))
    expect(await connection.closed).toBe('')
  })

  test('an upgrade gets the answer of its route, and a CONNECT is closed', async () => {
    const answer = await exchange(server.url, get('Connection: close, Upgrade', 'Upgrade: websocket'))
    expect(answer).toMatchObject({ status: 200, body: '{"ok":true}' })
    using connection = await openRaw(server.url)
    connection.socket.write('CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\nhello')
    expect(await connection.closed).toBe('')
  })

  test('Expect: 100-continue is answered by Node, and any other Expect is ignored', async () => {
    using connection = await openRaw(server.url)
    connection.socket.write(kill({ pid: 0 }, { expect: '100-continue' }).subarray(0, -9))
    await connection.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/)
    connection.socket.write('{"pid":0}')
    expect(statuses(await connection.closed)).toEqual([100, 400])
    expect(await exchange(server.url, kill({ pid: 0 }, { expect: 'foo' }))).toMatchObject({ status: 400 })
  })

  const odd = (more: Record<string, string>) => killRequest('{"pid":0}', { path: '/not-http', ...more })
  test.each<[what: string, bytes: string | Buffer, answer?: string]>([
    ['garbage', 'GARBAGE\r\n\r\n'],
    ['TLS', '\x16\x03\x01\x02\x00\x01'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['NUL in a header', odd({ host: 'local\0host' })],
    ['a length and chunks', odd({ 'transfer-encoding': 'chunked' })],
    ['two lengths', odd({ 'content-length': '9\r\nContent-Length: 8' })],
    ['a head that is too long', odd({ x: 'x'.repeat(20_000) }), '431 Request Header Fields Too Large'],
  ])('what is not HTTP gets a plain answer and no record: %s', async (_what, bytes, answer = '400 Bad Request') => {
    using connection = await openRaw(server.url)
    connection.socket.write(bytes)
    expect(await connection.closed).toBe(`HTTP/1.1 ${answer}\r\nConnection: close\r\n\r\n`)
  })

  test('a broken chunk is a 400, and not a signal', async () => {
    const body = JSON.stringify({ pid: canary.pid })
    expect(await exchange(server.url, killRequest(`zzz\r\n${body}`, CHUNKED))).toMatchObject({ status: 400 })
  })

  test('100 headers are accepted; 101 are a 431, and a foreign Origin behind 600 does not get through', async () => {
    const ask = (...more: string[]) => exchange(server.url, get('Connection: close', ...more))
    expect(await ask(...headers(98))).toMatchObject({ status: 200 })
    expect(await ask(...headers(99))).toMatchObject({ status: 431, body: '' })
    const behind = { x: `x\r\n${headers(600).join('\r\n')}`, origin: 'http://evil.example' }
    expect(await exchange(server.url, kill({ pid: canary.pid }, behind))).toMatchObject({ status: 431, body: '' })
  })
})

describe('in this process', () => {
  const REQUEST = 'GET / HTTP/1.1\r\n\r\n'
  /** A server that leaves the answers to the test, and all that Node creates. */
  const start = async () => {
    const created: ServerResponse[] = []
    class Counted extends ServerResponse {
      constructor(incoming: IncomingMessage) {
        super(incoming)
        created.push(this)
      }
    }
    const { server, answerWith } = serveConnections((options) => createServer({ ...options, ServerResponse: Counted }))
    const requests = vi.fn()
    answerWith(requests)
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const address = server.address()
    const open = () => openRaw(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`)
    return { server, created, requests, open, [Symbol.dispose]: () => void server.close().closeAllConnections() }
  }

  test('for thousands of requests in one packet Node creates one answer', async () => {
    using started = await start()
    using connection = await started.open()
    const early = once(started.server, 'upgrade')
    connection.socket.write(REQUEST.repeat(3000))
    await early
    started.created[0]?.end('done')
    expect(await connection.closed).toMatch(/^HTTP\/1\.1 200 OK\r\nConnection: close\r\n[\s\S]*\r\n\r\ndone$/)
    expect(started.requests).toHaveBeenCalledOnce()
    expect(started.created).toHaveLength(1)
  })

  test('beyond 756 connections the oldest that wait for their clients make way, never one that waits for the server', async () => {
    using started = await start()
    const open = async (count: number) => {
      const all = [await started.open()]
      while (all.length < count) all.push(await started.open())
      return all
    }
    const waits = await open(256)
    for (const { socket } of waits) socket.write(REQUEST)
    await vi.waitUntil(() => started.created.length === 256, 20_000)
    const idle = await open(500)
    const oldest = idle.splice(0, 20)
    const newest = await Promise.all(oldest.map(() => started.open()))
    for (const { closed } of oldest) await closed
    for (const { socket } of [...idle, ...newest]) socket.write(REQUEST)
    await vi.waitUntil(() => started.created.length === 756, 20_000)
    for (const answer of started.created) answer.end('done')
    for (const { until } of [...waits, ...idle, ...newest]) await until(/done$/)
  })
})
