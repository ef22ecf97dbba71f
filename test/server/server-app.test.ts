import type { MiddlewareHandler } from 'hono'
import { describe, expect, test, vi } from 'vitest'
import { refuse } from '../../src/app/attempt.ts'
import { KILL_PATH, serverAnswers } from '../../src/app/contract.ts'
import { createServerApp, type ServerOptions } from '../../src/server/index.ts'
import { conditionalSignaller, refusal, STREAMING, told } from '../support/post.ts'
import { TOKEN } from '../support/server.ts'

const ORIGIN = 'https://tools.example'
const GUARDED = { hosts: ['localhost'], origins: [ORIGIN], token: TOKEN, allowProxy: false }
const GOOD = { host: 'localhost:3000', origin: ORIGIN, authorization: `Bearer ${TOKEN}` }
const OK = [200, '{"ok":true}', null]
const HOST = refusal(403, 'Host not allowed', 'host')
const PROXY = refusal(403, 'Proxy not allowed', 'proxy')
const FOREIGN = refusal(403, 'Origin not allowed', 'origin')
const NO_PATH = refusal(404, 'Not Found', 'path')

type Headers = Record<string, string>
type Asked = { path?: string; method?: string; headers?: Headers; body?: BodyInit }

const serverWith = (options: Partial<ServerOptions> = {}) => {
  const signaller = conditionalSignaller()
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
    ['token', { headers: { authorization: 'Bearer wrong' } }, refusal(401, 'Unauthorized', 'token unknown')],
    ['method', { method: 'GET' }, refusal(405, 'Method Not Allowed', 'method')],
    ['size', { headers: { 'content-length': '5000' } }, refusal(413, 'Payload Too Large', 'size')],
    ['type', { headers: { 'content-type': 'text/plain' } }, refusal(400, 'Invalid pid', 'content-type')],
    ['body', { body: '{"pid":"1e3"}' }, refusal(400, 'Invalid pid', 'pid')],
    ['nothing', {}, OK],
  ]
  const PAIRS = CHECKS.flatMap(([name, asked, answer], index) =>
    CHECKS.slice(index).map(([later, other]) => [name, later, asked, other, answer] as const),
  )

  test.each(PAIRS)('%s, before %s', async (_name, _later, asked, other, answer) => {
    const { ask, pids, records } = serverWith({ ...GUARDED, guards: [closed] })
    const sent = { ...GOOD, 'content-length': '12', ...other.headers, ...asked.headers }
    const response = await ask({ ...other, ...asked, headers: sent })
    const { status, headers } = response
    const reason = headers.get('psys-kill-reason')
    expect([status, await response.text(), reason]).toEqual(answer)
    expect(pids).toEqual(answer === OK ? [1234] : [])
    // The page may read each answer, if its host and origin are allowed.
    expect(headers.get('access-control-allow-origin')).toBe(status === 403 ? null : ORIGIN)
    const record = { status, id: headers.get('x-request-id'), ...(reason && { outcome: 'refused', reason }) }
    expect(records()).toMatchObject([record])
  })

  test('the token before any of the body is read', async () => {
    const body = new ReadableStream({ pull: () => expect.unreachable('the body was read') }, { highWaterMark: 0 })
    const missing = refusal(401, 'Unauthorized', 'token missing')
    expect(await told(serverWith(GUARDED).ask({ headers: { host: 'localhost' }, body }))).toEqual(missing)
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
  [{ maxWaits: 0 }, {}, refusal(503, 'Too many waits', 'too many waits')],
])('with the options %j, %j is answered %j', async (options, headers, answer) => {
  const all = { authorization: GOOD.authorization, ...headers }
  expect(await told(serverWith(options).ask({ headers: all, body: '{"pid":1234,"waitMs":0}' }))).toEqual(answer)
})

test.each<[Headers, method: string, readonly unknown[]]>([
  [{ host: 'localhost' }, 'GET', OK],
  [{ host: 'evil.example' }, 'GET', HOST],
  [{ host: 'localhost', via: '1.1 proxy' }, 'GET', PROXY],
  [{ host: 'localhost', origin: 'http://evil.example' }, 'GET', FOREIGN],
  [{ host: 'localhost' }, 'POST', NO_PATH],
])('/healthz needs no token, and only a refusal is recorded: %j, %s', async (headers, method, answer) => {
  const { ask, records } = serverWith(GUARDED)
  expect(await told(ask({ path: '/healthz', method, headers }))).toEqual(answer)
  if (answer === OK) expect(await ask({ path: '/healthz', method: 'HEAD', headers })).toHaveProperty('status', 200)
  const [status, , reason] = answer
  expect(records()).toMatchObject(answer === OK ? [] : [{ path: '/healthz', outcome: 'refused', status, reason }])
})

test.each(['/', `${KILL_PATH}/`, '/healthz/', '/ünï'])('%s is a 404, with a token or not', async (path) => {
  for (const options of [{}, { token: TOKEN }]) expect(await told(serverWith(options).ask({ path }))).toEqual(NO_PATH)
})

test.each(['guards', 'signaller'])('an unexpected error of the %s is a 500, and once in the record', async (where) => {
  using error = vi.spyOn(console, 'error').mockImplementation(() => {})
  const failing = () => Promise.reject(new Error('the secret cause'))
  const { ask, records } = serverWith(
    where === 'guards' ? { guards: [failing] } : { signaller: { terminate: failing } },
  )
  expect(await told(ask())).toEqual([500, '{"error":"Failed to kill process"}', null])
  const cause = expect.stringMatching(/^Error: the secret cause\n +at /)
  expect(records()).toMatchObject([{ outcome: 'failed', status: 500, error: cause }])
  expect(error).not.toHaveBeenCalled()
})
