import { setTimeout as sleep } from 'node:timers/promises'
import { type Answer, answersOf } from './answers.ts'
import { isKnownToDiffer } from './known-differences.ts'
import { expectedOf } from './oracle.ts'
import type { Being, Expected, Place, WireRequest } from './oracle-model.ts'
import { startSleeper } from './processes.ts'
import { randomFrom } from './random.ts'
import { randomRequest } from './random-request.ts'
import { openRaw, type RawConnection } from './raw.ts'
import type { RunningServer } from './server.ts'
import type { Target } from './target.ts'

/** A server, what the oracle is to know of it, and whom requests may name. */
export interface Scene {
  server: RunningServer
  place: Place
  /** Lives to the end: named wherever the answer is not a signal. */
  canary: number
  /** Survives every signal. */
  deaf: number
  /** Named now and then; no answer to these is a signal. */
  others: readonly number[]
}

export interface Asked {
  seed: number
  request: WireRequest
  expected: Expected
  answer: Answer | undefined
}

/** The bytes of a request. */
export const bytesOf = ({ method, target, version, headers, body, chunk }: WireRequest) => {
  const lines = [`${method} ${target} ${version}`, ...headers.map(([name, value]) => `${name}: ${value}`), '', '']
  const chunks = chunk ? (body.match(new RegExp(`.{1,${chunk}}`, 'gs')) ?? []) : []
  const parts = chunk ? [...chunks, ''].map((part) => `${part.length.toString(16)}\r\n${part}\r\n`) : [body]
  return Buffer.from(lines.join('\r\n') + parts.join(''), 'latin1')
}

/** Long enough for any process that obeys, and the answer to such a wait comes with its end. */
const SURE_MS = 1000

/** Far beyond what anything here takes, so that a failure is told before the test is too late to tell it. */
const DEADLINE_MS = 30_000

/** A request and its answer by the oracle. Where that is a signal, it is for a process that may get one. */
const prepare = (seed: number, scene: Scene, preys: Target[]): Omit<Asked, 'answer'> => {
  const { place, canary, deaf, others } = scene
  const of = (pid: number, kind: Being['kind']) => {
    const request = randomRequest(randomFrom(seed), place, { pid, others })
    const beings = new Map([...place.beings, [pid, { kind, command: 'sleep' }]])
    return { seed, request, expected: expectedOf(request, { ...place, beings }) }
  }
  const harmless = of(canary, 'obedient')
  if (isKnownToDiffer(harmless.request, place)) return prepare(seed + 2 ** 28, scene, preys)
  const { signal } = harmless.expected
  if (!signal) return harmless
  if (signal.waitMs === undefined ? seed % 2 === 0 : signal.waitMs < SURE_MS) return of(deaf, 'deaf')
  const prey = startSleeper()
  preys.push(prey)
  return of(prey.pid, 'obedient')
}

/** Whether it parses as HTTP; Node itself answers where it does not. */
export const isParsed = ({ status, body }: Expected) => status !== 400 || body !== ''

const closing = <T extends { request: WireRequest }>(asked: T): T => ({
  ...asked,
  request: { ...asked.request, headers: [...asked.request.headers, ['Connection', 'close']] },
})

/** Each when the one before is answered. */
const writeByTurns = async (
  { socket, received, closed }: RawConnection,
  parts: readonly Buffer[],
  methods: string[],
) => {
  for (const [index, part] of parts.entries()) {
    socket.write(part)
    const answered = new Promise<void>((resolve) => {
      socket.on('data', () => answersOf(received(), methods).answers.length > index && resolve())
    })
    await Promise.race([answered, closed])
  }
}

/** All together, in two pieces where the share is below 1. */
const writeAtOnce = ({ socket }: RawConnection, parts: readonly Buffer[], share: number) => {
  const whole = Buffer.concat(parts)
  // Not while the last answer may be on its way: the server closes behind it, and what comes then resets.
  const cut = share < 1 ? Math.floor((whole.length - (parts.at(-1)?.length ?? 0)) * share) : whole.length
  socket.write(whole.subarray(0, cut))
  if (cut < whole.length) setImmediate(() => socket.write(whole.subarray(cut)))
}

/** After these the server closes, and with what is not HTTP go the answers that are on their way. */
const isAlone = ({ request: { method, version }, expected }: Pick<Asked, 'request' | 'expected'>) =>
  method === 'CONNECT' || version !== 'HTTP/1.1' || !isParsed(expected)

/** Asks some requests on one connection, one after the other or all at once. */
export const askOnOneConnection = async (seed: number, scene: Scene) => {
  const random = randomFrom(seed)
  const preys: Target[] = []
  const problems: string[] = []
  const late = sleep(DEADLINE_MS, 'late' as const, { ref: false })
  const wanted = Array.from({ length: 1 + random.below(8) }, (_, index) => prepare(seed * 8 + index, scene, preys))
  const end = wanted.findIndex(isAlone)
  const alone = end >= 0 ? wanted.slice(end, end + 1) : wanted
  const asked = [...alone.slice(0, -1), ...alone.slice(-1).map(closing)]
  const parts = asked.map(({ request }) => bytesOf(request))
  const methods = asked.map(({ request }) => request.method)
  try {
    using connection = await openRaw(scene.server.url)
    if (random.chance(0.3)) await Promise.race([writeByTurns(connection, parts, methods), late])
    else writeAtOnce(connection, parts, random.chance(0.7) || end >= 0 ? 1 : random.below(1000) / 1000)
    if ((await Promise.race([connection.closed, late])) === 'late') problems.push('The connection is not closed')
    const { answers, rest } = answersOf(connection.received(), methods)
    if (rest) problems.push(`After the answers came ${JSON.stringify(rest)}`)
    const targets = new Set(asked.map(({ expected }) => expected.signal?.pid))
    for (const { pid, ended } of preys.filter((prey) => targets.has(prey.pid))) {
      const signal = await Promise.race([ended, late])
      if (signal !== 'SIGTERM') problems.push(`${pid} was to get SIGTERM and got ${signal}`)
    }
    return { asked: asked.map((one, index): Asked => ({ ...one, answer: answers[index] })), problems }
  } finally {
    for (const prey of preys) prey[Symbol.dispose]()
  }
}
