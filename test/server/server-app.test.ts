import { beforeEach, describe, expect, test } from 'vitest'
import { KILL_PATH, serverAnswers } from '../../src/app/answers.ts'
import type { Outcome } from '../../src/app/signaller.ts'
import { createServerApp, type ServerOptions } from '../../src/server/index.ts'
import { createClosedApp } from '../../src/server/server-app.ts'
import { TOKEN } from '../support/token.ts'

const ORIGIN = 'https://tools.example'

const signalled: number[] = []
const lines: string[] = []
beforeEach(() => {
  signalled.length = 0
  lines.length = 0
})

const serverWith = (options: Partial<ServerOptions> = {}) =>
  createServerApp({
    signaller: {
      terminate: (pid): Outcome => {
        signalled.push(pid)
        return { code: 'sent' }
      },
    },
    log: { write: (line) => lines.push(line) },
    ...options,
  })

type Server = ReturnType<typeof serverWith>

const answerOf = async (response: Response) => ({ status: response.status, body: await response.text() })
const post = async (server: Server, headers: Record<string, string> = {}, path = KILL_PATH) =>
  server.request(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: '{"pid":1234}',
  })

const guarded = { hosts: ['localhost'], origins: [ORIGIN], token: TOKEN }

describe('the order of the checks is Host, origin, preflight, token, size, body', () => {
  interface Request {
    method: string
    headers: Record<string, string>
    body: string | undefined
  }
  const good: Request = {
    method: 'POST',
    headers: {
      host: 'localhost:3000',
      origin: ORIGIN,
      authorization: `Bearer ${TOKEN}`,
      'content-type': 'application/json',
      'content-length': '12',
    },
    body: '{"pid":1234}',
  }
  const withHeaders = (request: Request, headers: Record<string, string>) => ({
    ...request,
    headers: { ...request.headers, ...headers },
  })

  // What each check answers, and a request changed so that it does; in the order in which they must come.
  const checks: [name: string, status: number, answer: string, provoke: (request: Request) => Request][] = [
    ['Host', 403, '{"error":"Host not allowed"}', (request) => withHeaders(request, { host: 'evil.example' })],
    [
      'origin',
      403,
      '{"error":"Origin not allowed"}',
      (request) => withHeaders(request, { origin: 'http://evil.example' }),
    ],
    [
      'preflight',
      204,
      '',
      (request) => ({ ...withHeaders(request, { 'access-control-request-method': 'POST' }), method: 'OPTIONS' }),
    ],
    ['token', 401, '{"error":"Unauthorized"}', (request) => withHeaders(request, { authorization: 'Bearer wrong' })],
    ['size', 413, '{"error":"Payload Too Large"}', (request) => withHeaders(request, { 'content-length': '4097' })],
    ['body', 400, '{"error":"Invalid pid"}', (request) => ({ ...request, body: '{"pid":"1e3"}' })],
  ]

  const send = (request: Request) => serverWith(guarded).request(KILL_PATH, { ...request, body: request.body ?? null })

  test('a request that provokes none is answered 200', async () => {
    expect(await answerOf(await send(good))).toEqual({ status: 200, body: '{"ok":true}' })
    expect(signalled).toEqual([1234])
  })

  test.each(checks)('%s alone answers %i %s', async (_name, status, body, provoke) => {
    expect(await answerOf(await send(provoke(good)))).toEqual({ status, body })
    expect(signalled).toEqual([])
  })

  const pairs = checks.flatMap((first, index) => checks.slice(index + 1).map((second) => [first, second] as const))
  test.each(pairs.map(([first, second]) => ({ before: first[0], after: second[0], first, second })))(
    '$before comes before $after',
    async ({ first: [, status, body, provokeFirst], second: [, , , provokeSecond] }) => {
      expect(await answerOf(await send(provokeFirst(provokeSecond(good))))).toEqual({ status, body })
      expect(await answerOf(await send(provokeSecond(provokeFirst(good))))).toEqual({ status, body })
      expect(signalled).toEqual([])
    },
  )

  test('and a wrong method comes after the token', async () => {
    const get = (authorization: string) =>
      send({ ...withHeaders(good, { authorization }), method: 'GET', body: undefined })
    expect(await answerOf(await get(''))).toEqual({ status: 401, body: '{"error":"Unauthorized"}' })
    const response = await get(`Bearer ${TOKEN}`)
    expect(response.headers.get('allow')).toBe('POST')
    expect(await answerOf(response)).toEqual({ status: 405, body: '{"error":"Method Not Allowed"}' })
  })

  test('the token is asked for before any of the body is read', async () => {
    const body = new ReadableStream({ pull: () => expect.unreachable('the body was read') }, { highWaterMark: 0 })
    const headers = { host: 'localhost', 'content-type': 'application/json' }
    // A stream needs it, and the types of the DOM do not know it.
    const duplex = { duplex: 'half' }
    const response = await serverWith(guarded).request(KILL_PATH, { method: 'POST', headers, body, ...duplex })
    expect(response.status).toBe(401)
  })
})

describe('without hosts, origins and token', () => {
  test('any Host may call, and programs, but no page of another origin', async () => {
    expect((await post(serverWith(), { host: 'kill.example' })).status).toBe(200)
    expect((await post(serverWith(), { origin: ORIGIN })).status).toBe(403)
    expect((await post(serverWith(), { 'sec-fetch-site': 'cross-site' })).status).toBe(403)
  })

  test('a preflight of another origin is refused, without CORS headers', async () => {
    const headers = { origin: ORIGIN, 'access-control-request-method': 'POST' }
    const response = await serverWith().request(KILL_PATH, { method: 'OPTIONS', headers })
    expect(await answerOf(response)).toEqual({ status: 403, body: '{"error":"Origin not allowed"}' })
    expect([...response.headers.keys()].filter((name) => name.startsWith('access-control'))).toEqual([])
  })
})

describe('the token', () => {
  test.each(['', 'Bearer', `Bearer ${TOKEN}x`, `Basic ${TOKEN}`])(
    'missing, malformed or wrong is a 401: %j',
    async (authorization) => {
      const response = await post(serverWith({ token: TOKEN }), authorization ? { authorization } : {})
      expect(response.headers.get('www-authenticate')).toBe('Bearer')
      expect(response.headers.get('content-type')).toBe('application/json')
      expect(await answerOf(response)).toEqual({ status: 401, body: '{"error":"Unauthorized"}' })
      expect(signalled).toEqual([])
    },
  )

  test('that no request could match is an error at once', () => {
    expect(() => serverWith({ token: '' })).toThrow(TypeError)
  })

  test('is asked for on every spelling of the path that the route takes', async () => {
    const server = serverWith({ token: TOKEN })
    const spellings = [
      '/api/connections/%6bill',
      '/%61pi/connections/kill',
      `${KILL_PATH}?`,
      `${KILL_PATH}?token=${TOKEN}`,
    ]
    for (const path of spellings) expect((await post(server, {}, path)).status).toBe(401)
    for (const path of [
      `${KILL_PATH}/`,
      `/${KILL_PATH}`,
      '/API/connections/kill',
      '/api//connections/kill',
      `${KILL_PATH}%2f`,
    ])
      expect((await post(server, {}, path)).status).toBe(404)
    expect(signalled).toEqual([])
  })

  test('and its 401 can be read by a page that may call', async () => {
    const response = await post(serverWith(guarded), { host: 'localhost', origin: ORIGIN })
    expect(response.status).toBe(401)
    expect(response.headers.get('access-control-allow-origin')).toBe(ORIGIN)
  })

  test('is compared through the given hash function', async () => {
    const server = serverWith({ token: TOKEN, hashFunction: (text) => text.slice(0, 7) })
    expect((await post(server, { authorization: 'Bearer correct-and-different' })).status).toBe(401)
    expect((await post(server, { authorization: `Bearer ${TOKEN}` })).status).toBe(200)
  })
})

describe('GET /healthz', () => {
  test('is answered without a token, and not recorded', async () => {
    const response = await serverWith(guarded).request('/healthz', { headers: { host: 'localhost' } })
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await answerOf(response)).toEqual({ status: 200, body: '{"ok":true}' })
    expect(lines).toEqual([])
  })

  test('is refused to other hosts and origins', async () => {
    const server = serverWith(guarded)
    expect((await server.request('/healthz', { headers: { host: 'evil.example' } })).status).toBe(403)
    const headers = { host: 'localhost', origin: 'http://evil.example' }
    expect((await server.request('/healthz', { headers })).status).toBe(403)
  })

  test('is nothing but a GET', async () => {
    expect(await answerOf(await post(serverWith(), {}, '/healthz'))).toEqual({
      status: 404,
      body: '{"error":"Not Found"}',
    })
    expect((await serverWith().request('/healthz', { method: 'HEAD' })).status).toBe(200)
  })
})

test.each(['/', '/api', '/api/connections', '/healthz/', '/healthz2', '/favicon.ico', '/ünï'])(
  '%s is a 404 in JSON',
  async (path) => {
    const response = await serverWith().request(path)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(await answerOf(response)).toEqual({ status: 404, body: '{"error":"Not Found"}' })
  },
)

test('every answer says that it is JSON and not to be stored or sniffed', async () => {
  const server = serverWith(guarded)
  const good = { host: 'localhost', authorization: `Bearer ${TOKEN}` }
  const responses = [
    await post(server, good),
    await post(server, { host: 'localhost' }),
    await post(server, { ...good, host: 'evil.example' }),
    await post(server, { ...good, origin: 'http://evil.example' }),
    await post(server, { ...good, 'content-length': '4097' }),
    await post(server, { ...good, 'content-type': 'text/plain' }),
    await post(server, good, '/elsewhere'),
    await server.request(KILL_PATH, { headers: good }),
    await server.request('/healthz', { headers: good }),
  ]
  expect(responses.map(({ status }) => status)).toEqual([200, 401, 403, 403, 413, 400, 404, 405, 200])
  for (const { headers } of responses) {
    expect(headers.get('content-type')).toBe('application/json')
    expect(headers.get('cache-control')).toBe('no-store')
    expect(headers.get('x-content-type-options')).toBe('nosniff')
  }
})

describe('an unexpected error', () => {
  const record = () => JSON.parse(lines.at(-1) ?? '')

  test('of the signaller is a 500 that does not tell the client, and a record that does', async () => {
    const signaller = {
      terminate: () => {
        throw new Error('the secret cause')
      },
    }
    const answer = await answerOf(await post(serverWith({ signaller })))
    expect(answer).toEqual({ status: 500, body: '{"error":"Failed to kill process"}' })
    expect(record()).toMatchObject({ pid: 1234, outcome: 'failed', status: 500 })
    expect(record().error).toMatch(/^Error: the secret cause\n +at /)
  })

  test('of a check is one as well', async () => {
    const hashFunction = () => {
      throw new Error('the secret cause')
    }
    const answer = await answerOf(
      await post(serverWith({ token: TOKEN, hashFunction }), { authorization: `Bearer ${TOKEN}` }),
    )
    expect(answer).toEqual({ status: 500, body: '{"error":"Failed to kill process"}' })
    expect(record()).toMatchObject({
      outcome: 'failed',
      status: 500,
      error: expect.stringContaining('the secret cause'),
    })
    expect(signalled).toEqual([])
  })
})

describe('a refusal is on record with its reason:', () => {
  const good = { host: 'localhost', authorization: `Bearer ${TOKEN}` }

  test.each<[reason: string, headers: Record<string, string>, path?: string]>([
    ['host "evil.example"', { ...good, host: 'evil.example' }],
    ['origin "http://evil.example"', { ...good, origin: 'http://evil.example' }],
    ['cross-site', { ...good, 'sec-fetch-site': 'cross-site' }],
    ['token', { host: 'localhost' }],
    ['path', good, '/elsewhere'],
  ])('%s', async (reason, headers, path) => {
    const { status } = await post(serverWith(guarded), headers, path)
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ outcome: 'refused', reason, status }])
  })

  test('that of a closed app is the same for every request', async () => {
    const closed = createClosedApp({ write: (line) => lines.push(line) }, serverAnswers.host, () => 'peer')
    for (const path of ['/', KILL_PATH]) {
      const response = await closed.request(path, { method: 'POST' })
      expect(response.headers.get('cache-control')).toBe('no-store')
      expect(await answerOf(response)).toEqual({ status: 403, body: '{"error":"Host not allowed"}' })
      expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ path, outcome: 'refused', reason: 'peer', status: 403 })
    }
  })
})

test('maxWaits goes to the app, and 0 is a limit as well', async () => {
  const server = serverWith({ maxWaits: 0 })
  const headers = { 'content-type': 'application/json' }
  const response = await server.request(KILL_PATH, { method: 'POST', headers, body: '{"pid":1234,"waitMs":0}' })
  expect(await answerOf(response)).toEqual({ status: 503, body: '{"error":"Too many waits"}' })
  expect(signalled).toEqual([])
})

test('those who wait for an exit hear of it when the server stops', async () => {
  const stopping = new AbortController()
  const server = serverWith({
    stopping: stopping.signal,
    signaller: {
      supports: ['waitMs'],
      terminate: (_pid, { stopWaiting }) => ({
        code: stopWaiting.includes(stopping.signal) ? 'running' : 'exited',
      }),
    },
  })
  const response = await server.request(KILL_PATH, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{"pid":1234,"waitMs":5}',
  })
  expect(await response.text()).toBe('{"ok":true,"exited":false}')
})
