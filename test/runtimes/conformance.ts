import { readdirSync, readFileSync } from 'node:fs'
import http from 'node:http'
import https from 'node:https'
import { describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { needsLinux, needsRoot } from '../support/needs.ts'
import { assertDocumented } from '../support/openapi.ts'
import { startZombie } from '../support/processes.ts'
import { reapedPid, startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

/**
 * What an implementation has beyond the contract:
 * - `look`: it sees a process in /proc; without it the answer to startedBefore is 501.
 * - `server`: it is the standalone server, not the app in somebody's service.
 * - `other user`: it runs as a user who may not signal a process of the tests' own user.
 */
export type Feature = 'look' | 'server' | 'other user'

type Fits = (record: Record<string, unknown>) => boolean

/** A server that was told more than the peer beside it: GUARDED, as settings. */
export interface Guarded {
  url: string
  record: (fits: Fits) => Promise<Record<string, unknown>>
}

export const GUARDED = {
  PSYS_KILL_TOKEN: TOKEN,
  PSYS_KILL_ALLOW_HOST: 'kill.example',
  PSYS_KILL_ALLOW_ORIGIN: 'https://tools.example',
} as const

export interface Peer {
  /** What comes before `/api/connections/kill`. */
  url: string
  /** Resolves with the first record, present or to come, that fits; each `server` has it, and its guarded twin. */
  record?: (fits: Fits) => Promise<Record<string, unknown>>
  guarded?: Guarded
  /** The address of the client, where the runtime tells it. */
  remote?: string
  has: readonly Feature[]
  /** The PID of the process that signals. */
  pid: number
  /** The user whose processes it may signal, where that is not the tests' own. */
  user?: { uid: number; gid: number } | undefined
  /** Headers that every request needs, such as a token. */
  headers?: Record<string, string>
  /** The certificate to trust, where the URL is https. */
  ca?: string
  /** Every answer so far. */
  answers: Answer[]
}

export interface Answer {
  method: string
  path: string
  status: number
  text: string
  headers: NodeJS.Dict<string | string[]>
}

export interface ConformanceCase {
  group: string
  name: string
  needs?: Feature
  lacks?: Feature
  run: (peer: Peer) => Promise<void>
}

interface Sent {
  body?: string
  method?: string
  path?: string
  headers?: Record<string, string>
}

const send = (peer: Peer, { body, method = 'POST', path = KILL_PATH, headers }: Sent) =>
  new Promise<Answer>((resolve, reject) => {
    // No agent: a connection that a peer closes must not be the next one's.
    const { request } = peer.ca === undefined ? http : https
    const options = { method, headers: { ...peer.headers, ...headers }, agent: false, ca: peer.ca }
    const sending = request(peer.url + path, options, async (response) => {
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) text += chunk
      const answer = { method, path, status: response.statusCode ?? 0, text, headers: response.headers }
      peer.answers.push(answer)
      try {
        if (text !== '') assertDocumented(answer.status, answer.headers, text, path)
        resolve(answer)
      } catch (error) {
        reject(error)
      }
    })
    sending.on('error', reject)
    sending.end(body)
  })

const json = { 'content-type': 'application/json' }
const kill = (peer: Peer, body: unknown, headers: Record<string, string> = {}) =>
  send(peer, { body: typeof body === 'string' ? body : JSON.stringify(body), headers: { ...json, ...headers } })

const answer = (status: number, body: object) => ({
  status,
  text: JSON.stringify(body),
  headers: expect.objectContaining({ 'content-type': 'application/json' }),
})
const refusal = (status: number, error: string) => answer(status, { error })

const BAD_PID = refusal(400, 'Invalid pid')
const DENIED = refusal(403, 'Permission denied')
const NOT_FOUND = refusal(404, 'Process not found')
const startFor = ({ user }: Peer, script?: string) => startTarget(script, user)

/** The process of the script says when its handlers are there: `startTarget` waits for that. */
const IGNORES = "process.on('SIGTERM', () => {})"
const EXITS_LATER = "process.on('SIGTERM', () => setTimeout(process.exit, 200))"

const killing: [name: string, body: (pid: number) => string][] = [
  ['a number', (pid) => `{"pid":${pid}}`],
  ['a string of digits', (pid) => `{"pid":"${pid}"}`],
  ['digits with zeros and white space around', (pid) => `{"pid":" 00${pid}\\n"}`],
  ['a number with an empty fraction', (pid) => `{"pid":${pid}.0}`],
]

const badPids = ['12abc', '1e3', '0x10', '1.9', '+5', '-1', '', ' ', '0', '٣', '9007199254740992']
const badBodies: [name: string, body: string, headers?: Record<string, string>][] = [
  ...badPids.map((pid): [string, string] => [`the string ${JSON.stringify(pid)}`, JSON.stringify({ pid })]),
  ...['0', '-1', '1.5', '1e300', '9007199254740992', 'null', 'true', 'false', '[5]', '[]', '{}'].map(
    (pid): [string, string] => [pid, `{"pid":${pid}}`],
  ),
  ['no PID', '{}'],
  ['an array', '[1]'],
  ['null', 'null'],
  ['half a body', '{"pid":1'],
  ['an empty body', ''],
  ['text', '{"pid":"x"}', { 'content-type': 'text/plain' }],
]

const plain: ConformanceCase[] = [
  ...killing.map(([form, body]) => ({
    group: 'kill',
    name: `terminates the process whose PID is given as ${form}`,
    run: async (peer: Peer) => {
      using target = await startFor(peer)
      expect(await kill(peer, body(target.pid))).toMatchObject(answer(200, { ok: true }))
      expect(await target.ended).toBe('SIGTERM')
      expect(await kill(peer, body(target.pid))).toMatchObject(NOT_FOUND)
    },
  })),
  {
    group: 'kill',
    name: 'sends nothing but SIGTERM, and says so to a process that ignores it',
    run: async (peer) => {
      using target = await startFor(peer, IGNORES)
      expect(await kill(peer, { pid: target.pid })).toMatchObject(answer(200, { ok: true }))
      expect(await kill(peer, { pid: target.pid })).toMatchObject(answer(200, { ok: true }))
      expect(target.isAlive()).toBe(true)
    },
  },
  ...badBodies.map(([name, body, headers]) => ({
    group: 'bad PID',
    name: `refuses ${name}`,
    run: async (peer: Peer) => {
      expect(await kill(peer, body, headers)).toMatchObject(BAD_PID)
    },
  })),
  ...['"startedbefore":"2000-01-01T00:00:00Z"', '"signal":"SIGKILL"', '"":0', '"__proto__":1'].map((field) => ({
    group: 'unknown field',
    name: `refuses ${field}, and nothing is signalled`,
    run: async (peer: Peer) => {
      using target = await startFor(peer)
      const body = `{"pid":${target.pid},${field}}`
      expect(await kill(peer, body)).toMatchObject(refusal(400, 'Unknown field'))
      expect(target.isAlive()).toBe(true)
    },
  })),
  {
    group: 'no such process',
    name: 'does not find a PID that was reaped',
    run: async (peer) => {
      expect(await kill(peer, { pid: await reapedPid() })).toMatchObject(NOT_FOUND)
    },
  },
  ...[2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, 2 ** 53 - 1].map((pid) => ({
    group: 'no such process',
    name: `does not find ${pid}`,
    run: async (peer: Peer) => {
      expect(await kill(peer, { pid })).toMatchObject(NOT_FOUND)
      expect(await kill(peer, { pid: `${pid}` })).toMatchObject(NOT_FOUND)
    },
  })),
  {
    group: 'denied',
    name: 'protects PID 1',
    run: async (peer) => {
      expect(await kill(peer, { pid: 1 })).toMatchObject(DENIED)
    },
  },
  {
    group: 'denied',
    name: 'protects itself',
    run: async (peer) => {
      expect(await kill(peer, { pid: peer.pid })).toMatchObject(DENIED)
      expect(await kill(peer, { pid: peer.pid })).toMatchObject(DENIED)
    },
  },
  {
    group: 'denied',
    name: "may not signal another user's process",
    needs: 'other user',
    run: async (peer) => {
      using target = await startTarget()
      expect(await kill(peer, { pid: target.pid })).toMatchObject(DENIED)
      expect(target.isAlive()).toBe(true)
    },
  },
  {
    group: 'HTTP',
    name: 'answers 405 to another method, and says which one is right',
    run: async (peer) => {
      for (const method of ['GET', 'PUT', 'DELETE'])
        expect(await send(peer, { method })).toMatchObject({
          ...refusal(405, 'Method Not Allowed'),
          headers: expect.objectContaining({ allow: 'POST' }),
        })
    },
  },
  {
    group: 'HTTP',
    name: 'answers 413 to a body above 4 KiB, of declared length or not',
    run: async (peer) => {
      const body = `{"pid":"x${'x'.repeat(4096)}"}`
      expect(await kill(peer, body)).toMatchObject(refusal(413, 'Payload Too Large'))
      expect(await kill(peer, body, { 'transfer-encoding': 'chunked' })).toMatchObject(
        refusal(413, 'Payload Too Large'),
      )
    },
  },
]

const PAST = '2020-02-02T02:02:02.020Z'
const FUTURE = '2999-12-31T23:59:59+01:00'

const conditions: ConformanceCase[] = [
  {
    group: 'startedBefore',
    name: 'spares a process that started later, and terminates one that started before',
    needs: 'look',
    run: async (peer) => {
      using target = await startFor(peer)
      expect(await kill(peer, { pid: target.pid, startedBefore: PAST })).toMatchObject(NOT_FOUND)
      expect(target.isAlive()).toBe(true)
      expect(await kill(peer, { pid: target.pid, startedBefore: FUTURE })).toMatchObject(answer(200, { ok: true }))
      expect(await target.ended).toBe('SIGTERM')
    },
  },
  {
    group: 'startedBefore',
    name: 'is not supported without /proc, and nothing is signalled',
    lacks: 'look',
    run: async (peer) => {
      using target = await startFor(peer)
      expect(await kill(peer, { pid: target.pid, startedBefore: FUTURE, waitMs: 1 })).toMatchObject(
        refusal(501, 'startedBefore is not supported here'),
      )
      expect(target.isAlive()).toBe(true)
    },
  },
  ...['null', '1', '"yesterday"', '"2026-11-24"', '"2026-11-24T08:00:00"'].map((startedBefore) => ({
    group: 'startedBefore',
    name: `refuses ${startedBefore}`,
    run: async (peer: Peer) => {
      expect(await kill(peer, `{"pid":2147483647,"startedBefore":${startedBefore},"waitMs":-1}`)).toMatchObject(
        refusal(400, 'Invalid startedBefore'),
      )
    },
  })),
  {
    group: 'waitMs',
    name: 'tells that a process has exited, and that one has not',
    run: async (peer) => {
      using obeys = await startFor(peer, EXITS_LATER)
      using ignores = await startFor(peer, IGNORES)
      const [exited, running] = await Promise.all([
        kill(peer, { pid: obeys.pid, waitMs: 10_000 }),
        kill(peer, { pid: ignores.pid, waitMs: 300 }),
      ])
      expect(exited).toMatchObject(answer(200, { ok: true, exited: true }))
      expect(running).toMatchObject(answer(200, { ok: true, exited: false }))
      expect(ignores.isAlive()).toBe(true)
    },
  },
  ...['null', '"5"', '-1', '1.5', '60001'].map((waitMs) => ({
    group: 'waitMs',
    name: `refuses ${waitMs}`,
    run: async (peer: Peer) => {
      expect(await kill(peer, `{"pid":2147483647,"waitMs":${waitMs}}`)).toMatchObject(refusal(400, 'Invalid waitMs'))
    },
  })),
  {
    group: 'look first',
    name: 'tells of a process without a signal, and then terminates what it told of',
    needs: 'look',
    run: async (peer) => {
      using target = await startFor(peer)
      const look = await kill(peer, { pid: target.pid, dryRun: true, waitMs: 1 })
      const name = readFileSync(`/proc/${target.pid}/comm`, 'utf8').trim()
      const uid = peer.user?.uid ?? process.getuid?.()
      const seen = { command: name, uid, startedAt: expect.stringMatching(/^\d{4}-.*Z$/) }
      expect([look.status, JSON.parse(look.text)]).toEqual([200, { ok: true, dryRun: true, process: seen }])
      const { command, startedAt: startedBefore } = JSON.parse(look.text).process
      expect(await kill(peer, { pid: target.pid, startedBefore, command: 'another' })).toMatchObject(NOT_FOUND)
      expect(target.isAlive()).toBe(true)
      expect(await kill(peer, { pid: target.pid, startedBefore, command, comment: 'é'.repeat(200) })).toMatchObject(
        answer(200, { ok: true }),
      )
      expect(await target.ended).toBe('SIGTERM')
    },
  },
  {
    group: 'look first',
    name: 'tells without /proc whether a signal would be sent, and not to whom',
    lacks: 'look',
    run: async (peer) => {
      using target = await startFor(peer)
      const { pid } = target
      expect(await kill(peer, { pid, dryRun: true })).toMatchObject(answer(200, { ok: true, dryRun: true }))
      expect(await kill(peer, { pid, command: 'x' })).toMatchObject(refusal(501, 'command is not supported here'))
      expect(target.isAlive()).toBe(true)
      expect(await kill(peer, { pid: await reapedPid(), dryRun: true })).toMatchObject(NOT_FOUND)
    },
  },
  ...Object.entries({
    dryRun: ['null', '1', '"true"'],
    command: ['null', '1', '["node"]'],
    comment: ['null', '1', `"${'x'.repeat(201)}"`],
  }).flatMap(([field, values]) =>
    values.map((value) => ({
      group: 'look first',
      name: `refuses ${field} ${value.slice(0, 10)}`,
      run: async (peer: Peer) => {
        expect(await kill(peer, `{"pid":2147483647,"${field}":${value}}`)).toMatchObject(
          refusal(400, `Invalid ${field}`),
        )
      },
    })),
  ),
  {
    group: 'not a process',
    name: 'does not find a zombie',
    needs: 'look',
    run: async (peer) => {
      using zombie = await startZombie()
      expect(await kill(peer, { pid: zombie.pid })).toMatchObject(NOT_FOUND)
    },
  },
  {
    group: 'not a process',
    name: 'does not find a thread',
    needs: 'look',
    run: async (peer) => {
      using target = await startFor(peer)
      const threads = readdirSync(`/proc/${target.pid}/task`).map(Number)
      expect(await kill(peer, { pid: threads.find((id) => id !== target.pid) })).toMatchObject(NOT_FOUND)
      expect(target.isAlive()).toBe(true)
    },
  },
]

const server: ConformanceCase[] = [
  {
    group: 'server',
    name: 'answers only to the names of loopback',
    needs: 'server',
    run: async (peer) => {
      expect(await kill(peer, { pid: 1 }, { host: 'evil.example' })).toMatchObject(refusal(403, 'Host not allowed'))
      expect(await kill(peer, { pid: 1 }, { host: 'localhost' })).toMatchObject(DENIED)
    },
  },
  {
    group: 'server',
    name: 'refuses a web page of another origin',
    needs: 'server',
    run: async (peer) => {
      expect(await kill(peer, { pid: 1 }, { origin: 'http://evil.example' })).toMatchObject(
        refusal(403, 'Origin not allowed'),
      )
    },
  },
  {
    group: 'server',
    name: 'answers JSON for an unknown path too',
    needs: 'server',
    run: async (peer) => {
      expect(await send(peer, { path: '/nothing' })).toMatchObject(refusal(404, 'Not Found'))
    },
  },
  {
    group: 'server',
    name: 'is healthy',
    needs: 'server',
    run: async (peer) => {
      expect(await send(peer, { method: 'GET', path: '/healthz' })).toMatchObject(answer(200, { ok: true }))
    },
  },
  {
    group: 'server',
    name: 'numbers its answers and lets nobody store or sniff them',
    needs: 'server',
    run: async (peer) => {
      const { headers } = await kill(peer, { pid: 1 })
      expect(headers).toMatchObject({
        'cache-control': 'no-store',
        'x-content-type-options': 'nosniff',
        'x-request-id': expect.stringMatching(/^[0-9a-f-]{36}$/),
      })
    },
  },
]

/** The record of the request that was answered so. */
const recordOf = async ({ record }: Pick<Peer, 'record'>, { headers }: Answer, outcome?: string) =>
  record?.(({ id, outcome: got }) => id === headers['x-request-id'] && (outcome ?? got) === got)

const recording: ConformanceCase[] = [
  {
    group: 'record',
    name: 'tells of a signal who asked, and whom it went to',
    needs: 'server',
    run: async (peer) => {
      using target = await startFor(peer)
      const record = await recordOf(peer, await kill(peer, { pid: target.pid }), 'sent')
      expect(record).toMatchObject({ method: 'POST', path: KILL_PATH, pid: target.pid, outcome: 'sent', status: 200 })
      expect(record?.['remote']).toBe(peer.remote)
    },
  },
  {
    group: 'record',
    name: 'tells of a wait how it ended, beside the signal',
    needs: 'server',
    run: async (peer) => {
      using target = await startFor(peer, EXITS_LATER)
      const answered = await kill(peer, { pid: target.pid, waitMs: 10_000 })
      expect(await recordOf(peer, answered, 'exited')).toMatchObject({ pid: target.pid, status: 200 })
    },
  },
  {
    group: 'record',
    name: 'tells of a refusal why',
    needs: 'server',
    run: async (peer) => {
      const refused = { outcome: 'refused', pid: 'x', reason: 'pid', status: 400 }
      expect(await recordOf(peer, await kill(peer, { pid: 'x' }))).toMatchObject(refused)
      const byHost = { outcome: 'refused', reason: 'host "evil.example"', status: 403 }
      expect(await recordOf(peer, await kill(peer, { pid: 1 }, { host: 'evil.example' }))).toMatchObject(byHost)
      const gone = { outcome: 'ESRCH', status: 404 }
      expect(await recordOf(peer, await kill(peer, { pid: await reapedPid() }), 'ESRCH')).toMatchObject(gone)
    },
  },
]

const AUTHORIZATION = { authorization: `Bearer ${GUARDED.PSYS_KILL_TOKEN}` }
/** The guarded twin, asked with the right token but for what a case says otherwise. */
const guardedOf = ({ guarded, answers, ...peer }: Peer): Peer => {
  if (!guarded) throw new Error('A server has to have a guarded twin')
  return { ...peer, ...guarded, answers, headers: AUTHORIZATION }
}

const guarded: ConformanceCase[] = [
  ...[
    ['no token', ''],
    ['a wrong token', `${AUTHORIZATION.authorization}x`],
    ['the token under another scheme', AUTHORIZATION.authorization.replace('Bearer', 'Basic')],
  ].map(([name, authorization = '']) => ({
    group: 'token',
    name: `refuses ${name}, on record`,
    needs: 'server' as const,
    run: async (peer: Peer) => {
      using target = await startFor(peer)
      const answered = await kill(guardedOf(peer), { pid: target.pid }, { authorization })
      expect(answered).toMatchObject({
        ...refusal(401, 'Unauthorized'),
        headers: expect.objectContaining({ 'www-authenticate': 'Bearer' }),
      })
      expect(await recordOf(guardedOf(peer), answered)).toMatchObject({ outcome: 'refused', reason: 'token' })
      expect(target.isAlive()).toBe(true)
    },
  })),
  {
    group: 'token',
    name: 'kills with the right one',
    needs: 'server',
    run: async (peer) => {
      using target = await startFor(peer)
      const answered = await kill(guardedOf(peer), { pid: target.pid })
      expect(answered).toMatchObject(answer(200, { ok: true }))
      expect(await target.ended).toBe('SIGTERM')
      expect(await recordOf(guardedOf(peer), answered, 'sent')).toMatchObject({ pid: target.pid })
    },
  },
  {
    group: 'token',
    name: 'is not asked for by the health check',
    needs: 'server',
    run: async (peer) => {
      const { answers } = peer
      const healthy = await send({ ...peer, ...peer.guarded, answers }, { method: 'GET', path: '/healthz' })
      expect(healthy).toMatchObject(answer(200, { ok: true }))
    },
  },
  {
    group: 'allowed',
    name: 'answers to the names that are allowed, and to no other',
    needs: 'server',
    run: async (peer) => {
      const as = (host: string) => kill(guardedOf(peer), {}, { host })
      for (const host of ['kill.example', 'KILL.example:80', 'localhost']) expect(await as(host)).toMatchObject(BAD_PID)
      for (const host of ['evil.example', 'x.kill.example', 'kill.example.evil'])
        expect(await as(host)).toMatchObject(refusal(403, 'Host not allowed'))
    },
  },
  {
    group: 'allowed',
    name: 'lets the pages of the origin that is allowed call, and of no other',
    needs: 'server',
    run: async (peer) => {
      const origin = GUARDED.PSYS_KILL_ALLOW_ORIGIN
      const cors = expect.objectContaining({ 'access-control-allow-origin': origin })
      const preflight = { origin, 'access-control-request-method': 'POST' }
      const asked = await send(guardedOf(peer), { method: 'OPTIONS', headers: preflight })
      expect(asked).toMatchObject({ status: 204, headers: cors })
      const page = { origin, 'sec-fetch-site': 'cross-site' }
      expect(await kill(guardedOf(peer), {}, page)).toMatchObject({ status: 400, headers: cors })
      for (const other of ['https://evil.example', `${origin}:1`, 'http://tools.example', 'null'])
        expect(await kill(guardedOf(peer), {}, { origin: other })).toMatchObject(refusal(403, 'Origin not allowed'))
    },
  },
]

/** The contract and the extensions, as requests to a real server; whoever runs them may look at `peer.answers`. */
export const conformanceCases: readonly ConformanceCase[] = [
  ...plain,
  ...conditions,
  ...server,
  ...recording,
  ...guarded,
]

/** Declares a test of each case that is about such a peer, in a `describe` of each group. */
export const describeConformance = (has: readonly Feature[], peer: () => Peer) => {
  const cases = conformanceCases.filter(
    ({ needs, lacks }) => (!needs || has.includes(needs)) && !(lacks && has.includes(lacks)),
  )
  for (const group of new Set(cases.map((each) => each.group))) {
    describe(group, () => {
      for (const { name, needs, run } of cases.filter((each) => each.group === group))
        test(name, (context) => {
          if (needs === 'other user') needsRoot(context)
          if (needs === 'look') needsLinux(context)
          return run(peer())
        })
    })
  }
}
