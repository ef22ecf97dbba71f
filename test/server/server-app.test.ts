import type { MiddlewareHandler } from 'hono'
import { describe, expect, test, vi } from 'vitest'
import { refuse } from '../../src/app/attempt.ts'
import { KILL_PATH, serverAnswers } from '../../src/app/contract.ts'
import { createServerApp, type ServerOptions } from '../../src/server/index.ts'
import { recordingSignaller, refusal, STREAMING, told } from '../support/post.ts'
import { TOKEN } from '../support/server.ts'

const ORIGIN = 'https://tools.example'
const GUARDED = { hosts: ['localhost'], origins: [ORIGIN], token: TOKEN, allowProxy: false }
const GOOD = { host: 'localhost:3000', origin: ORIGIN, authorization: `Bearer ${TOKEN}` }
const OK = [200, '{"ok":true}', null]
const HOST = refusal(403, 'Host not allowed', 'host')
const PROXY = refusal(403, 'Proxy not allowed', 'proxy')
const FOREIGN = refusal(403, 'Origin not allowed', 'origin')
const UNKNOWN = refusal(401, 'Unauthorized', 'token unknown')
const MISSING = refusal(401, 'Unauthorized', 'token missing')
const NO_PATH = refusal(404, 'Not Found', 'path')

type Headers = Record<string, string>
type Asked = { path?: string; method?: string; headers?: Headers; body?: BodyInit }

const serverWith = (options: Partial<ServerOptions> = {}) => {
  const signaller = recordingSignaller()
  const lines: string[] = []
  const log = { write: (line: string) => lines.push(line) }
  const server = createServerApp({ signaller, log, ...options })
  /** By default a POST that kills. No answer may be stored or sniffed. */
  const ask = async ({ path = KILL_PATH, method = 'POST', headers = {}, body = '{"pid":1234}' }: Asked = {}) => {
    const all = { 'content-type': 'application/json', ...headers }
    const bodyOf = method === 'POST' ? { body, ...STREAMING } : {}
    const response = await server.request(path, { method, headers: all, ...bodyOf })
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(response.headers.get('x-content-type-options')).toBe('nosniff')
    return response
  }
  return { pids: signaller.pids, ask, records: () => lines.map((line) => JSON.parse(line)) }
}

describe('the order of the checks is Host, proxy, origin, preflight, guards, token, method, size, body', () => {
  const closed: MiddlewareHandler = async (c, next) =>
    c.req.header('x-closed') ? refuse(c, serverAnswers.unauthorized, { reason: 'certificate' }) : next()

  // What provokes each check, and its answer, in the order in which they must come.
  const CHECKS: [name: string, asked: Asked, answer: readonly unknown[]][] = [
    ['Host', { headers: { host: 'evil.example' } }, HOST],
    ['proxy', { headers: { via: '1.1 proxy' } }, PROXY],
    ['origin', { headers: { origin: 'http://evil.example' } }, FOREIGN],
    ['preflight', { method: 'OPTIONS' }, [204, '', null]],
    ['guards', { headers: { 'x-closed': 'yes' } }, refusal(401, 'Unauthorized', 'certificate')],
    ['token', { headers: { authorization: 'Bearer wrong' } }, UNKNOWN],
    ['size', { headers: { 'content-length': '5000' } }, refusal(413, 'Payload Too Large', 'size')],
    ['type', { headers: { 'content-type': 'text/plain' } }, refusal(400, 'Invalid pid', 'content-type')],
    ['body', { body: '{"pid":"1e3"}' }, refusal(400, 'Invalid pid', 'pid')],
  ]
  /** The answer, and the PIDs that are signalled. The record must have the same reason. */
  const send = async (...all: Asked[]) => {
    const { ask, pids, records } = serverWith({ ...GUARDED, guards: [closed] })
    const headers = Object.assign({ ...GOOD, 'content-length': '12' }, ...all.map((asked) => asked.headers))
    const response = await ask(Object.assign({}, ...all, { headers }))
    const { status } = response
    const reason = response.headers.get('psys-kill-reason')
    const record = { status, id: response.headers.get('x-request-id'), ...(reason && { outcome: 'refused', reason }) }
    expect(records()).toMatchObject([record])
    return { pids, answer: [status, await response.text(), reason] }
  }

  test('a request that provokes none is obeyed', async () => {
    expect(await send()).toEqual({ pids: [1234], answer: OK })
  })

  test.each(CHECKS.map(([name, ...rest], index) => [name, index, ...rest] as const))(
    '%s, before those that follow',
    async (_name, index, asked, answer) => {
      expect(await send(asked)).toEqual({ pids: [], answer })
      for (const [, other] of CHECKS.slice(index + 1)) expect(await send(other, asked)).toEqual({ pids: [], answer })
    },
  )

  test('a wrong method after the token', async () => {
    const { ask } = serverWith(GUARDED)
    expect(await told(ask({ method: 'GET', headers: { host: 'localhost' } }))).toEqual(MISSING)
    const response = await ask({ method: 'GET', headers: GOOD })
    expect(response.headers.get('allow')).toBe('POST')
    expect(await told(response)).toEqual(refusal(405, 'Method Not Allowed', 'method'))
  })

  test('the token before any of the body is read', async () => {
    const body = new ReadableStream({ pull: () => expect.unreachable('the body was read') }, { highWaterMark: 0 })
    expect(await told(serverWith(GUARDED).ask({ headers: { host: 'localhost' }, body }))).toEqual(MISSING)
  })

  test('and before them all comes prepare, once', async () => {
    const paths: string[] = []
    const { ask } = serverWith({ ...GUARDED, prepare: (c) => paths.push(c.req.path) })
    for (const path of [KILL_PATH, '/healthz']) await ask({ path, headers: { host: 'evil.example' } })
    expect(paths).toEqual([KILL_PATH, '/healthz'])
  })
})

test.each<[Partial<ServerOptions>, Headers, readonly unknown[]]>([
  [{}, { host: 'kill.example' }, OK],
  [{}, { origin: ORIGIN }, FOREIGN],
  [{}, { via: '1.1 proxy' }, PROXY],
  [{ token: TOKEN }, { via: '1.1 proxy' }, OK],
  [{ allowProxy: true }, { via: '1.1 proxy' }, OK],
  [{ token: TOKEN, allowProxy: false }, { via: '1.1 proxy' }, PROXY],
])('with the options %j, %j is answered %j', async (options, headers, answer) => {
  expect(await told(serverWith(options).ask({ headers: { authorization: `Bearer ${TOKEN}`, ...headers } }))).toEqual(
    answer,
  )
})

test('a page that may call can read each answer, its id and its reason', async () => {
  for (const authorization of ['Bearer wrong', GOOD.authorization]) {
    const { headers } = await serverWith(GUARDED).ask({ headers: { ...GOOD, authorization } })
    expect(headers.get('access-control-allow-origin')).toBe(ORIGIN)
    expect(headers.get('access-control-expose-headers')).toBe('X-Request-Id,Psys-Kill-Reason')
  }
})

describe('/healthz', () => {
  const LOCAL = { host: 'localhost' }

  test('is answered without a token, and not recorded', async () => {
    const { ask, records } = serverWith(GUARDED)
    expect(await told(ask({ path: '/healthz', method: 'GET', headers: LOCAL }))).toEqual(OK)
    expect(records()).toEqual([])
  })

  test.each<[Headers, method: string, readonly unknown[], detail?: string]>([
    [{ host: 'evil.example' }, 'GET', HOST, '"evil.example"'],
    [{ ...LOCAL, via: '1.1 proxy' }, 'GET', PROXY, 'via'],
    [{ ...LOCAL, origin: 'http://evil.example' }, 'GET', FOREIGN, '"http://evil.example"'],
    [LOCAL, 'POST', NO_PATH],
  ])('is refused and recorded with %j and %s', async (headers, method, answer, detail) => {
    const { ask, records } = serverWith(GUARDED)
    expect(await told(ask({ path: '/healthz', method, headers }))).toEqual(answer)
    const record = { path: '/healthz', outcome: 'refused', status: answer[0], reason: answer[2] }
    expect(records()).toMatchObject([{ ...record, ...(detail && { detail }) }])
  })
})

test.each(['/', `${KILL_PATH}/`, '/healthz/', '/ünï'])('%s is a 404, with a token or not', async (path) => {
  for (const options of [{}, { token: TOKEN }]) expect(await told(serverWith(options).ask({ path }))).toEqual(NO_PATH)
})

const failing = () => Promise.reject(new Error('the secret cause'))
test.each<Partial<ServerOptions>>([{ guards: [failing] }, { signaller: { terminate: failing } }])(
  'an unexpected error is a 500 that does not tell the client, and once in the record: %j',
  async (options) => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const { ask, records } = serverWith(options)
    expect(await told(ask())).toEqual([500, '{"error":"Failed to kill process"}', null])
    const cause = expect.stringMatching(/^Error: the secret cause\n +at /)
    expect(records()).toMatchObject([{ outcome: 'failed', status: 500, error: cause }])
    expect(error).not.toHaveBeenCalled()
  },
)

test('maxWaits reaches the app, and 0 is a limit too', async () => {
  const busy = refusal(503, 'Too many waits', 'too many waits')
  expect(await told(serverWith({ maxWaits: 0 }).ask({ body: '{"pid":1234,"waitMs":5}' }))).toEqual(busy)
})
