import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { exchange, killRequest, openRaw } from '../support/raw.ts'
import { health, type RunningServer, startServer } from '../support/server.ts'
import { startTarget, type Target } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

const HOST = [403, '{"error":"Host not allowed"}', 'host'] as const
const ORIGIN = [403, '{"error":"Origin not allowed"}', 'origin'] as const
const TARGET = [404, '{"error":"Not Found"}', 'path'] as const
const METHOD = [405, '{"error":"Method Not Allowed"}', 'method'] as const
const NO_TOKEN = [401, '{"error":"Unauthorized"}', 'token'] as const

type Answer = readonly [status: number, body: string, reason: string]
/** The request line and the headers that differ from an honest kill, and the answers with and without a token set. */
type Odd = [name: string, line: string, headers: Record<string, string>, plain: Answer, withToken: Answer]

const POST = 'POST /api/connections/kill HTTP/1.1'
const absolute = (url: string) => `POST ${url}/api/connections/kill HTTP/1.1`
const hiding = Array.from({ length: 2500 }, (_, i) => `a${i.toString(36)}:`).join('\r\n')

const odd: Odd[] = [
  ...['256.256.256.256', 'a.1', 'xn--a'].flatMap((host): Odd[] => [
    [
      `the Host ${host}, which no URL can have, and an Origin`,
      POST,
      { host, origin: 'http://x.example' },
      HOST,
      ORIGIN,
    ],
    [`the Host ${host} and the Origin of its own name`, POST, { host, origin: `http://${host}` }, HOST, ORIGIN],
  ]),
  ...['x@127.0.0.1', 'a b', '127.0.0.1:', 'localhost/..', '[::1', 'localhost:99999', 'localhost#', 'local\thost'].map(
    (host): Odd => [`the Host ${host}`, POST, { host }, HOST, HOST],
  ),
  ['an absolute target of another host', absolute('http://evil.example'), {}, HOST, NO_TOKEN],
  [
    'an absolute target of another host with its Origin',
    absolute('http://evil.example'),
    { origin: 'http://evil.example' },
    HOST,
    ORIGIN,
  ],
  [
    'an absolute target of ours with another Host',
    absolute('http://localhost'),
    { host: 'evil.example' },
    HOST,
    NO_TOKEN,
  ],
  ['an absolute target that no URL can have', absolute('http://256.256.256.256'), {}, TARGET, TARGET],
  ['an absolute target of another scheme', absolute('ftp://localhost'), {}, TARGET, TARGET],
  ['a backslash in the path', 'POST /api\\connections\\kill HTTP/1.1', {}, TARGET, TARGET],
  ['an asterisk', 'OPTIONS * HTTP/1.1', {}, TARGET, TARGET],
  ['an asterisk by another Host', 'OPTIONS * HTTP/1.1', { host: 'evil.example' }, HOST, TARGET],
  ['a backslash from a foreign page', 'POST /api\\x HTTP/1.1', { origin: 'http://x.example' }, ORIGIN, ORIGIN],
  ['an address of ours written otherwise', POST, { host: '[0:0:0:0:0:0:0:1]' }, HOST, HOST],
  ['CONNECT', 'CONNECT localhost:80 HTTP/1.1', {}, METHOD, METHOD],
  ['CONNECT by another Host', 'CONNECT evil.example:80 HTTP/1.1', { host: 'evil.example' }, METHOD, METHOD],
  [
    'an Expect that is not known, and a foreign Origin',
    POST,
    { expect: 'foo', origin: 'http://x.example' },
    ORIGIN,
    ORIGIN,
  ],
  ['a foreign Origin behind 2,500 headers', POST, { x: `\r\n${hiding}`, origin: 'http://x.example' }, ORIGIN, ORIGIN],
  ['no Host', POST, { host: '' }, HOST, NO_TOKEN],
  ['HTTP/1.0 without a Host', 'POST /api/connections/kill HTTP/1.0', { host: '' }, HOST, NO_TOKEN],
]

describe.each([
  ['a server on loopback', {}],
  [
    'a server with a token that answers any Host',
    { args: ['--port', '0', '--host', '0.0.0.0'], env: { PSYS_KILL_TOKEN: TOKEN } },
  ],
])('%s refuses in JSON, with the usual headers, and on record', (_name, options) => {
  let server: RunningServer
  let canary: Target
  beforeAll(async () => {
    server = await startServer(options)
    canary = await startTarget()
  })
  afterAll(async () => {
    const alive = canary.isAlive()
    canary[Symbol.dispose]()
    await server[Symbol.asyncDispose]()
    expect(alive).toBe(true)
  })

  test.each(odd)('%s', async (_what, line, headers, plain, withToken) => {
    const [status, body, reason] = 'env' in options ? withToken : plain
    const request = killRequest(JSON.stringify({ pid: canary.pid }), headers)
      .toString('latin1')
      .replace(POST, line)
    const url = server.url.replace('0.0.0.0', '127.0.0.1')
    const { headers: sent, ...answer } = await exchange(url, Buffer.from(request, 'latin1'))
    expect(answer).toEqual({ status, body })
    expect(sent).toMatchObject({
      'content-type': 'application/json',
      'x-content-type-options': 'nosniff',
      'cache-control': 'no-store',
    })
    expect(sent['allow']).toBe(status === 405 ? 'POST' : undefined)
    const record = await server.record(({ id }) => id === sent['x-request-id'])
    expect(record).toMatchObject({
      outcome: 'refused',
      status,
      reason: expect.stringMatching(reason),
      remote: expect.any(String),
    })
    expect(server.records.filter(({ id }) => id === record['id'])).toHaveLength(1)
    expect(canary.isAlive()).toBe(true)
  })

  test('and is well afterwards', async () => {
    expect(await health(server.url.replace('0.0.0.0', '127.0.0.1'))).toBe(200)
    expect(server.stderr()).not.toMatch(/\n +at /)
  })
})

test('100 Continue comes before the answer that it belongs to, also where that is queued behind another', async () => {
  await using server = await startServer()
  using target = await startTarget('process.on("SIGTERM", () => {})')
  using connection = await openRaw(server.url)
  const keep = { connection: 'keep-alive' }
  const wait = killRequest(JSON.stringify({ pid: target.pid, waitMs: 100 }), keep)
  connection.socket.write(
    Buffer.concat([wait, killRequest('{}', { ...keep, expect: '100-continue' }), killRequest('[]')]),
  )
  const answers = (await connection.closed).split(/(?=HTTP)/)
  expect(answers.map((answer) => answer.replace(/\r\n[\s\S]*\r\n/, ' '))).toEqual([
    'HTTP/1.1 200 OK {"ok":true,"exited":false}',
    'HTTP/1.1 100 Continue ',
    'HTTP/1.1 400 Bad Request {"error":"Invalid pid"}',
    'HTTP/1.1 400 Bad Request {"error":"Invalid pid"}',
  ])
})

test('an Expect that is not known makes no difference to an honest request', async () => {
  await using server = await startServer()
  using target = await startTarget()
  const answer = await exchange(server.url, killRequest(JSON.stringify({ pid: target.pid }), { expect: 'foo' }))
  expect(answer).toMatchObject({ status: 200, body: '{"ok":true}' })
  expect(await target.ended).toBe('SIGTERM')
})

describe('what is not HTTP', () => {
  const malformed = [
    'GARBAGE\r\n\r\n',
    '\r\n\r\n\r\n\0\0\0\0\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n',
    'GET /healthz HTTP/1.1\r\nHost localhost\r\n\r\n',
    'GET /heal\x01thz HTTP/1.1\r\nHost: localhost\r\n\r\n',
    'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n',
    killRequest('{"pid":0}', { 'transfer-encoding': 'chunked' }),
    killRequest('{"pid":0}', { 'content-length': '-9' }),
    killRequest('{"pid":0}', { 'content-length': '9\r\nContent-Length: 8' }),
    killRequest('zzz\r\n{"pid":0}', { 'content-length': '', 'transfer-encoding': 'chunked' }),
  ]

  test("gets Node's own empty 400, and the server stays", async () => {
    await using server = await startServer()
    for (const request of malformed)
      expect.soft(await exchange(server.url, request), String(request)).toMatchObject({ status: 400, body: '' })
    expect(await health(server.url)).toBe(200)
    expect(server.stderr()).not.toContain('at ')
  })

  test('a head that is too long is an empty 431', async () => {
    await using server = await startServer()
    const request = killRequest('{"pid":0}', { 'x-long': 'x'.repeat(20_000) })
    expect(await exchange(server.url, request)).toMatchObject({ status: 431, body: '' })
    expect(await health(server.url)).toBe(200)
  })
})
