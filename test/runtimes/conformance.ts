import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/contract.ts'
import { needsRoot } from '../support/needs.ts'
import { assertDocumented } from '../support/openapi.ts'
import { startSleeper, startTarget, startZombie } from '../support/processes.ts'
import { exchange, killRequest } from '../support/raw.ts'
import { type RunningServer, TOKEN } from '../support/server.ts'

/**
 * What an implementation has in addition to the contract:
 * - `look`: it reads /proc. Without it, the answer to `instance` and `command` is 501.
 * - `other user`: it runs as a user who may not signal a process of the tests' own user.
 * - `server`: it is a standalone server, not the app in somebody's service.
 * - `connections`: it obeys one request at a time on a connection. The test needs a server without TLS.
 * - `target`: it sees which host an absolute target names.
 */
export type Feature = 'look' | 'other user' | 'server' | 'connections' | 'target'

/** The settings of a guarded server. */
export const GUARDED = {
  PSYS_KILL_TOKEN: TOKEN,
  PSYS_KILL_ALLOW_HOST: 'kill.example',
  PSYS_KILL_ALLOW_ORIGIN: 'https://tools.example',
} as const

export interface Peer {
  /** What comes before `/api/connections/kill`. */
  url: string
  /** The PID of the process that signals, and the user whose processes it may signal. Default: the tests' own. */
  pid: number
  user?: { uid: number; gid: number } | undefined
  /** Resolves with the first record that fits. Each `server` has it, and a twin with the settings of GUARDED. */
  record?: RunningServer['record']
  guarded?: Pick<RunningServer, 'url' | 'record'> | undefined
  /** The address of the client, if the runtime tells it. */
  remote?: string
  /** Headers that every request needs, and the certificate to trust, if the URL is https. */
  headers?: Record<string, string> | undefined
  ca?: string
}

type Request = Partial<Record<'body' | 'method' | 'path', string>> & Pick<Peer, 'headers'>

/** Sends a request on a connection of its own, and checks that the answer is documented. */
const send = async (peer: Peer, { body, method = 'POST', path = KILL_PATH, headers }: Request) => {
  const url = new URL(peer.url)
  const { request } = url.protocol === 'https:' ? https : http
  const target = path.startsWith('http') ? path : url.pathname.replace(/\/$/, '') + path
  // By default, the name for TLS follows Host.
  const connection = { ca: peer.ca, servername: 'localhost', agent: false }
  const options = { ...connection, method, path: target, headers: { ...peer.headers, ...headers } }
  const [response] = await once(request(url, options).end(body), 'response')
  const text = (await response.setEncoding('utf8').toArray()).join('')
  const answer = { status: response.statusCode, text, headers: response.headers }
  if (text !== '') assertDocumented(answer.status, answer.headers, text, path)
  return answer
}

const json = { 'content-type': 'application/json' }
const answer = (status: number, body: object, headers = {}) => {
  return { status, text: JSON.stringify(body), headers: { ...json, ...headers } }
}
const refusal = (status: number, error: string, reason: string, headers = {}) =>
  answer(status, { error }, { 'psys-kill-reason': reason, ...headers })

const SENT = answer(200, { ok: true })
const PROTECTED = refusal(403, 'Permission denied', 'protected')
const BAD_HOST = refusal(403, 'Host not allowed', 'host')
const notFound = (reason = 'gone') => refusal(404, 'Process not found', reason)

export const IGNORES = "process.on('SIGTERM', () => {})"
const EXITS_LATER = "process.on('SIGTERM', () => setTimeout(process.exit, 200))"

// What depends on how a runtime receives a body and reads JSON, text and numbers. test/app asks the others.
const badPids = ['"12abc"', '"٣"', '"9007199254740992"', '1e300', '-1', '1.5']
const bad: [body: string, error: string, reason: string, type?: string][] = [
  ['{"pid":1', 'Invalid pid', 'body'],
  ['', 'Invalid pid', 'body'],
  ['{"pid":"x"}', 'Invalid pid', 'content-type', 'text/plain'],
  ['{"pid":2147483647,"waitMs":60001}', 'Invalid waitMs', 'waitMs'],
  ['{"pid":2147483647,"__proto__":1}', 'Unknown field', 'unknown field'],
]

/** Declares the tests that fit an implementation with these features, in a `describe` for each group. */
export const describeConformance = (has: readonly Feature[], peer: () => Peer) => {
  const kill = (body: unknown, headers: Peer['headers'] = {}, to = peer()) =>
    send(to, { body: typeof body === 'string' ? body : JSON.stringify(body), headers: { ...json, ...headers } })
  const startSleeping = () => startSleeper(peer().user)
  const start = (script: string) => startTarget(script, peer().user)
  /** The guarded server, as seen by a client with the right token. */
  const guarded = (headers: Peer['headers'] = { authorization: `Bearer ${TOKEN}` }): Peer => {
    return { ...peer(), ...(peer().guarded ?? expect.unreachable()), headers }
  }
  /** The record of the request that got this answer. */
  const recordOf = ({ headers }: { headers: http.IncomingHttpHeaders }, outcome: string, { record } = peer()) =>
    record?.((line) => line['id'] === headers['x-request-id'] && line['outcome'] === outcome)

  describe('kill', () => {
    test.each(['PID', '" 00PID\\n"', 'PID.0'])('terminates the process of {"pid":%s}', async (text) => {
      using target = startSleeping()
      const body = `{"pid":${text.replace('PID', String(target.pid))}}`
      expect(await kill(body)).toMatchObject(SENT)
      expect(await target.ended).toBe('SIGTERM')
      expect(await kill(body)).toMatchObject(notFound())
    })

    test('sends nothing but SIGTERM, and tells whether the process has exited', async () => {
      using obeys = await start(EXITS_LATER)
      using ignores = await start(IGNORES)
      const asked = [kill({ pid: obeys.pid, waitMs: 60_000 }), kill({ pid: ignores.pid, waitMs: 300 })]
      const answers = [true, false].map((exited) => answer(200, { ok: true, exited }))
      expect(await Promise.all(asked)).toMatchObject(answers)
      expect(ignores.isAlive()).toBe(true)
    })
  })

  describe('refusals', () => {
    test.each(badPids)('answers the PID %s with 400', async (pid) => {
      expect(await kill(`{"pid":${pid}}`)).toMatchObject(refusal(400, 'Invalid pid', 'pid'))
    })

    test.each(bad)('answers %s with 400 %s', async (body, error, reason, type = 'application/json') => {
      expect(await kill(body, { 'content-type': type })).toMatchObject(refusal(400, error, reason))
    })

    test.each([2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1])('does not find %d', async (pid) => {
      expect(await kill({ pid })).toMatchObject(notFound())
    })

    test('protects PID 1 and itself', async () => {
      for (const pid of [1, peer().pid]) expect(await kill({ pid })).toMatchObject(PROTECTED)
    })

    test('answers 405 to another method, and says which one is right', async () => {
      const badMethod = refusal(405, 'Method Not Allowed', 'method', { allow: 'POST' })
      expect(await send(peer(), { method: 'GET' })).toMatchObject(badMethod)
    })

    test('answers 413 to a body above 4 KiB, of declared length or not', async () => {
      const body = `{"pid":"${'x'.repeat(4097)}"}`
      for (const headers of [{}, { 'transfer-encoding': 'chunked' }])
        expect(await kill(body, headers)).toMatchObject(refusal(413, 'Payload Too Large', 'size'))
    })

    if (has.includes('other user'))
      test("may not signal another user's process", async (context) => {
        needsRoot(context)
        using target = startSleeper()
        expect(await kill({ pid: target.pid })).toMatchObject(refusal(403, 'Permission denied', 'not permitted'))
        expect(target.isAlive()).toBe(true)
      })

    if (!has.includes('look'))
      test('supports no instance and no command, and signals nothing', async () => {
        using target = startSleeping()
        const { pid } = target
        for (const [field, value] of Object.entries({ instance: `x-${pid}-1`, command: 'sleep' })) {
          const unsupported = refusal(501, `${field} is not supported here`, 'not supported')
          expect(await kill({ pid, [field]: value, waitMs: 1 })).toMatchObject(unsupported)
        }
        expect(await kill({ pid, dryRun: true })).toMatchObject(answer(200, { ok: true, dryRun: true }))
        expect(target.isAlive()).toBe(true)
      })
  })

  if (has.includes('look'))
    describe('/proc', () => {
      test('tells the instance without a signal, and then terminates exactly that process', async () => {
        using target = startSleeping()
        const { pid } = target
        const { process: seen, ...rest } = JSON.parse((await kill({ pid, dryRun: true, waitMs: 1 })).text)
        const { instance, command, uid } = seen
        expect(rest).toEqual({ ok: true, dryRun: true })
        expect([command, uid]).toEqual(['sleep', peer().user?.uid ?? process.getuid?.()])
        expect(instance).toMatch(new RegExp(`^[0-9a-f]{16}-${pid}-\\d+$`))
        expect(seen.startedAt).toMatch(/^\d{4}-.*Z$/)
        expect(await kill({ pid, instance: `${instance}0` })).toMatchObject(notFound('other instance'))
        expect(await kill({ pid, instance, command: 'another' })).toMatchObject(notFound('other command'))
        expect(target.isAlive()).toBe(true)
        expect(await kill({ pid, instance, command, comment: 'é'.repeat(200) })).toMatchObject(SENT)
        expect(await target.ended).toBe('SIGTERM')
      })

      test('does not find a zombie or a thread', async () => {
        using zombie = await startZombie()
        using target = await start('')
        const threads = readdirSync(`/proc/${target.pid}/task`).map(Number)
        expect(await kill({ pid: zombie.pid })).toMatchObject(notFound('zombie'))
        expect(await kill({ pid: threads.find((id) => id !== target.pid) })).toMatchObject(notFound('thread'))
        expect(target.isAlive()).toBe(true)
      })
    })

  if (!has.includes('server')) return

  describe('server', () => {
    if (has.includes('connections'))
      test('does not obey a request that comes while an answer is due', async () => {
        using first = await start(IGNORES)
        using second = startSleeping()
        const wait = killRequest(`{"pid":${first.pid},"waitMs":60000}`, { connection: '' })
        const early = killRequest(`{"pid":${second.pid}}`)
        const { status, headers, body } = await exchange(peer().url, Buffer.concat([wait, early]))
        expect([status, headers['connection'], body]).toEqual([200, 'close', '{"ok":true,"exited":false}'])
        expect(second.isAlive()).toBe(true)
      })

    test('accepts only the names of loopback as Host, and records which name it refused', async () => {
      const answered = await kill({ pid: 1 }, { host: 'evil.example' })
      expect(answered).toMatchObject(BAD_HOST)
      const record = await recordOf(answered, 'refused')
      expect(record).toMatchObject({ reason: 'host', detail: '"evil.example"', status: 403 })
      expect(await kill({ pid: 1 }, { host: 'localhost' })).toMatchObject(PROTECTED)
    })

    test(`${has.includes('target') ? 'checks' : 'does not see'} the host of an absolute target`, async () => {
      using target = startSleeping()
      const body = JSON.stringify({ pid: target.pid })
      const headers = { ...json, host: 'localhost' }
      const answered = await send(peer(), { path: `http://evil.example${KILL_PATH}`, body, headers })
      expect(answered).toMatchObject(has.includes('target') ? BAD_HOST : SENT)
      if (has.includes('target')) expect(target.isAlive()).toBe(true)
    })

    test('answers an unknown path in JSON, and the health check', async () => {
      expect(await send(peer(), { path: '/nothing' })).toMatchObject(refusal(404, 'Not Found', 'path'))
      expect(await send(peer(), { method: 'GET', path: '/healthz' })).toMatchObject(SENT)
    })

    test('records of a signal who sent the request, and how the wait ended', async () => {
      using target = await start(EXITS_LATER)
      const { pid } = target
      const answered = await kill({ pid, waitMs: 60_000 })
      const headers = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
      expect(answered).toMatchObject({ headers })
      const signal = await recordOf(answered, peer().remote === undefined ? 'forwarded' : 'sent')
      expect(signal).toMatchObject({ method: 'POST', path: KILL_PATH, pid })
      expect(signal?.['remote']).toBe(peer().remote)
      expect(await recordOf(answered, 'exited')).toMatchObject({ pid, status: 200 })
    })
  })

  describe('guarded', () => {
    test('kills with the right token alone, and needs none for the health check', async () => {
      using target = startSleeping()
      const wrong = { 'token missing': {}, 'token unknown': { authorization: `Bearer ${TOKEN}x` } }
      for (const [reason, headers] of Object.entries(wrong)) {
        const answered = await kill({ pid: target.pid }, {}, guarded(headers))
        expect(answered).toMatchObject(refusal(401, 'Unauthorized', reason, { 'www-authenticate': 'Bearer' }))
        expect(await recordOf(answered, 'refused', guarded())).toMatchObject({ reason })
      }
      expect(target.isAlive()).toBe(true)
      expect(await kill({ pid: target.pid }, {}, guarded())).toMatchObject(SENT)
      expect(await target.ended).toBe('SIGTERM')
      expect(await send(guarded({}), { method: 'GET', path: '/healthz' })).toMatchObject(SENT)
    })

    test('accepts the Host and the origin that are allowed, and no other', async () => {
      const origin = GUARDED.PSYS_KILL_ALLOW_ORIGIN
      const cors = { headers: { 'access-control-allow-origin': origin } }
      const preflight = { origin, 'access-control-request-method': 'POST' }
      const page = { origin, 'sec-fetch-site': 'cross-site', host: 'KILL.example:80' }
      expect(await send(guarded(), { method: 'OPTIONS', headers: preflight })).toMatchObject({ status: 204, ...cors })
      expect(await kill({}, page, guarded())).toMatchObject({ status: 400, ...cors })
      expect(await kill({}, { host: 'x.kill.example' }, guarded())).toMatchObject(BAD_HOST)
      const badOrigin = refusal(403, 'Origin not allowed', 'origin')
      expect(await kill({}, { origin: `${origin}:1` }, guarded())).toMatchObject(badOrigin)
    })
  })
}
