import { once } from 'node:events'
import { createServer, type IncomingMessage, ServerResponse } from 'node:http'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { serveConnections } from '../../src/standalone/connections.ts'
import { startDeaf, startSleeper, type Target } from '../support/processes.ts'
import { exchange, killRequest, openRaw, type RawConnection } from '../support/raw.ts'
import { health, type RunningServer, startServer } from '../support/server.ts'

const KEEP = { connection: 'keep-alive' }
const kill = (body: object, headers: Record<string, string> = KEEP) => killRequest(JSON.stringify(body), headers)
const get = (...headers: string[]) => ['GET /healthz HTTP/1.1', 'Host: localhost', ...headers, '', ''].join('\r\n')
const statuses = (text: string) => text.match(/HTTP\/1\.1 \d+/g)?.map((line) => Number(line.slice(9)))
/** The headers that a request may have. */
const headers = (count: number) => Array.from({ length: count }, (_, index) => `X-${index}: x`)

let server: RunningServer
let deaf: Target
let canary: Target
beforeAll(async () => {
  server = await startServer()
  deaf = await startDeaf()
  canary = startSleeper()
})
afterAll(async () => {
  expect(canary.isAlive()).toBe(true)
  expect(server.stderr()).not.toMatch(/\n +at /)
  for (const target of [deaf, canary]) target[Symbol.dispose]()
  await server[Symbol.asyncDispose]()
})

const waitOf = (pid: number) => kill({ pid, waitMs: 60_000 })
/** Resolves when a wait begins, and with a function that resolves when it ends. */
const begun = async (seen: number) => {
  const { id } = await server.record((record) => server.records.indexOf(record) >= seen && record['outcome'] === 'sent')
  return () => server.record((record) => record['id'] === id && record['outcome'] === 'running')
}

describe('one request at a time:', () => {
  test('of two kills in one packet the second is not obeyed', async () => {
    using target = startSleeper()
    using connection = await openRaw(server.url)
    connection.socket.write(Buffer.concat([kill({ pid: target.pid }), kill({ pid: canary.pid })]))
    const text = await connection.closed
    expect(statuses(text)).toEqual([200])
    // Node 26 sends the first answer before it parses the second request.
    if (Number.parseInt(process.versions.node, 10) < 26) expect(text).toContain('\r\nConnection: close\r\n')
    expect(await target.ended).toBe('SIGTERM')
    expect(await health(server.url)).toBe(200)
    expect(server.records.filter(({ pid }) => pid === canary.pid)).toEqual([])
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
    ['a broken chunk', () => kill({}, { 'content-length': '', 'transfer-encoding': 'chunked' })],
    ['thousands of requests', () => get().repeat(6000)],
  ]
  const ways = early.flatMap((each) => [['in one packet', ...each] as const, ['in a later packet', ...each] as const])

  test.each(ways)('a wait ends and is answered if there comes, %s, %s', async (way, _what, bytes) => {
    using connection = await openRaw(server.url)
    const seen = server.records.length
    if (way === 'in one packet') connection.socket.write(Buffer.concat([waitOf(deaf.pid), Buffer.from(bytes())]))
    else connection.socket.write(waitOf(deaf.pid))
    const ended = await begun(seen)
    if (way !== 'in one packet') connection.socket.write(bytes())
    const text = await connection.closed
    expect(statuses(text)).toEqual([200])
    expect(text).toMatch(/\r\nConnection: close\r\n[^{]*\{"ok":true,"exited":false\}$/)
    expect(await ended()).toMatchObject({ pid: deaf.pid })
  })

  test('a wait ends when its client closes the connection', async () => {
    using connection = await openRaw(server.url)
    const seen = server.records.length
    connection.socket.write(waitOf(deaf.pid))
    const ended = await begun(seen)
    connection.socket.destroy()
    await ended()
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

  test('requests in turn are all answered', async () => {
    using connection = await openRaw(server.url)
    for (const times of [1, 2, 3]) {
      connection.socket.write(kill({ pid: 0 }))
      await connection.until(new RegExp(`(Invalid pid[\\s\\S]*){${times}}`))
    }
    expect(connection.received()).not.toContain('Connection: close')
  })
})

describe('without an answer that is due,', () => {
  test('a request to upgrade gets the answer of its route', async () => {
    const answer = await exchange(server.url, get('Connection: close, Upgrade', 'Upgrade: websocket'))
    expect(answer).toMatchObject({ status: 200, body: '{"ok":true}' })
  })

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

  test('a CONNECT is closed', async () => {
    using connection = await openRaw(server.url)
    connection.socket.write('CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\nhello')
    expect(await connection.closed).toBe('')
    expect(await health(server.url)).toBe(200)
  })

  test('Expect: 100-continue is answered by Node, and any other Expect is ignored', async () => {
    using connection = await openRaw(server.url)
    const [head, body] = [kill({ pid: 0 }, { expect: '100-continue' }).subarray(0, -9), '{"pid":0}']
    connection.socket.write(head)
    await connection.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/)
    connection.socket.write(body)
    expect(statuses(await connection.closed)).toEqual([100, 400])
    expect(await exchange(server.url, kill({ pid: 0 }, { expect: 'foo' }))).toMatchObject({ status: 400 })
  })

  const odd = (body: string, more: Record<string, string>) => killRequest(body, { path: '/not-http', ...more })
  const notHttp = get().replace('/healthz', '/not-http')
  test.each<[what: string, bytes: string | Buffer, answer?: string]>([
    ['garbage', 'GARBAGE\r\n\r\n'],
    ['NUL', '\r\n\r\n\0\0\r\n\r\n'],
    ['TLS', '\x16\x03\x01\x02\x00\x01'],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['HTTP/9.9', notHttp.replace('1.1', '9.9')],
    ['a header without a colon', notHttp.replace('Host:', 'Host')],
    ['NUL in a header', notHttp.replace('localhost', 'local\0host')],
    ['a length and chunks', odd('{"pid":0}', { 'transfer-encoding': 'chunked' })],
    ['a negative length', odd('{"pid":0}', { 'content-length': '-9' })],
    ['two lengths', odd('{"pid":0}', { 'content-length': '9\r\nContent-Length: 8' })],
    ['a head that is too long', odd('', { x: 'x'.repeat(20_000) }), '431 Request Header Fields Too Large'],
  ])('what is not HTTP gets a plain answer and no record: %s', async (_what, bytes, answer = '400 Bad Request') => {
    using connection = await openRaw(server.url)
    connection.socket.write(bytes)
    expect(await connection.closed).toBe(`HTTP/1.1 ${answer}\r\nConnection: close\r\n\r\n`)
    const { headers: sent } = await server.kill({})
    await server.record(({ id }) => id === sent.get('x-request-id'))
    expect(server.records.filter(({ path }) => path === '/not-http')).toEqual([])
  })

  test('a broken chunk is a 400, and not a signal', async () => {
    const body = JSON.stringify({ pid: canary.pid })
    const chunked = { 'content-length': '', 'transfer-encoding': 'chunked' }
    expect(await exchange(server.url, killRequest(`zzz\r\n${body}`, chunked))).toMatchObject({ status: 400 })
  })

  test('100 headers are accepted; 101 are a 431, and a foreign Origin behind 600 does not get through', async () => {
    const ask = (...more: string[]) => exchange(server.url, get('Connection: close', ...more))
    expect(await ask(...headers(98))).toMatchObject({ status: 200 })
    expect(await ask(...headers(99))).toMatchObject({ status: 431, body: '' })
    const behind = { x: `x\r\n${headers(600).join('\r\n')}`, origin: 'http://evil.example' }
    expect(await exchange(server.url, kill({ pid: canary.pid }, behind))).toMatchObject({ status: 431, body: '' })
  })
})

test('256 requests wait at once; the oldest connection that waits for its client makes way, and never one of them', async () => {
  const open = async (count: number) => {
    const all: RawConnection[] = []
    while (all.length < count) all.push(await openRaw(server.url))
    return all
  }
  const seen = server.records.length
  using target = await startDeaf()
  const waits = await open(256)
  for (const { socket } of waits) socket.write(waitOf(target.pid))
  const sent = () => server.records.slice(seen).filter(({ outcome }) => outcome === 'sent')
  await server.record(() => sent().length === 256)
  const oneMore = killRequest(JSON.stringify({ pid: target.pid, waitMs: 1 }))
  expect(await exchange(server.url, oneMore)).toMatchObject({ status: 503, body: '{"error":"Too many waits"}' })

  const idle = await open(500)
  const [oldest, second] = idle
  expect(await exchange(server.url, get('Connection: close'))).toMatchObject({ status: 200 })
  await oldest?.closed
  second?.socket.write(get())
  await second?.until(/ok/)

  target.child.kill('SIGKILL')
  for (const wait of waits) await wait.until(/\{"ok":true,"exited":true\}$/)
  for (const connection of [...waits, ...idle]) connection[Symbol.dispose]()
})

test('for thousands of requests in one packet Node creates one answer', async () => {
  const created: ServerResponse[] = []
  class Counted extends ServerResponse {
    constructor(incoming: IncomingMessage) {
      super(incoming)
      created.push(this)
    }
  }
  const { server: listener, answerWith } = serveConnections((options) =>
    createServer({ ...options, ServerResponse: Counted }),
  )
  const requests = vi.fn()
  answerWith(requests)
  listener.listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const address = listener.address()
  using connection = await openRaw(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`)
  const early = once(listener, 'upgrade')
  connection.socket.write('GET / HTTP/1.1\r\n\r\n'.repeat(3000))
  await early
  created[0]?.end('done')
  expect(await connection.closed).toMatch(/^HTTP\/1\.1 200 OK\r\nConnection: close\r\n[\s\S]*\r\n\r\ndone$/)
  expect(requests).toHaveBeenCalledOnce()
  expect(created).toHaveLength(1)
  listener.close()
})
