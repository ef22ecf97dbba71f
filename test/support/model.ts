import fc from 'fast-check'
import type { Outcome, OutcomeCode, SignallerReason } from '../../src/app/signaller.ts'

/** A request to the kill route. */
export type Asked = Readonly<{ method: string; type: string | undefined; body: Uint8Array<ArrayBuffer> }>

/** What reaches a signaller: the PID and the fields that the client sent. */
export type Call = { readonly pid: number } & Readonly<Record<string, unknown>>

/** A signaller: the conditions that it supports, and what it returns or throws. */
export type Behaviour = Readonly<{ supports: readonly string[]; does: (call: Call) => Outcome }>

/** An answer; `reason` is the header Psys-Kill-Reason. There is a call if a signaller is called. */
type Expected = Readonly<{ status: number; body: string; reason: string | null; call?: Call }>

const CONDITIONS = ['instance', 'waitMs', 'dryRun', 'command'] as const

/** What the README says of each outcome. The others are 501. */
const OUTCOMES: Readonly<Record<string, readonly [status: number, body: object, reason?: string]>> = {
  sent: [200, { ok: true }],
  exited: [200, { ok: true, exited: true }],
  running: [200, { ok: true, exited: false }],
  'would send': [200, { ok: true, dryRun: true }],
  EPERM: [403, { error: 'Permission denied' }, 'not permitted'],
  ESRCH: [404, { error: 'Process not found' }, 'gone'],
  'too many waits': [503, { error: 'Too many waits' }, 'too many waits'],
}

const refused = (status: number, error: string, reason: string): Expected => {
  return { status, body: JSON.stringify({ error }), reason }
}

const answered = ({ code, reason, process }: Outcome): Expected => {
  const no = { error: `${code.replace('no ', '')} is not supported here` }
  const [status, body, usual] = OUTCOMES[code] ?? [501, no, 'not supported']
  return { status, body: JSON.stringify({ ...body, process }), reason: usual === undefined ? null : (reason ?? usual) }
}

/** The value of a body; undefined if it is not JSON. UTF-8 may begin with a byte order mark. */
const jsonOf = (body: Uint8Array): unknown => {
  try {
    return JSON.parse(new TextDecoder().decode(body))
  } catch {
    return undefined
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The PID that a value means; undefined if it is not a PID. */
const pidOf = (value: unknown) => {
  const digits = typeof value === 'string' ? value.trim() : Number.isInteger(value) ? `${BigInt(Number(value))}` : ''
  if (!/^[0-9]+$/.test(digits)) return undefined
  const pid = BigInt(digits)
  return pid >= 1n && pid < 2n ** 53n ? Number(pid) : undefined
}

/** Whether each optional field is well-formed, in the order of the README. */
const WELL_FORMED: Readonly<Record<string, (value: unknown) => boolean>> = {
  instance: (value) => typeof value === 'string' && /^[A-Za-z0-9_.-]{1,64}$/.test(value),
  waitMs: (value) => Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 60_000,
  dryRun: (value) => typeof value === 'boolean',
  command: (value) => typeof value === 'string',
  comment: (value) => typeof value === 'string' && Array.from(value).length <= 200,
}

const isJson = (type = '') => /^application\/([\w.-]+\+)?json$/i.test((type.split(';')[0] ?? '').trim())

/** What the README says about a request: the answer, and what reaches the signaller. */
export const expectedOf = ({ method, type, body }: Asked, { supports, does }: Behaviour): Expected => {
  if (method !== 'POST') return refused(405, 'Method Not Allowed', 'method')
  if (body.length > 4096) return refused(413, 'Payload Too Large', 'size')
  if (!isJson(type)) return refused(400, 'Invalid pid', 'content-type')
  const value = jsonOf(body)
  if (value === undefined) return refused(400, 'Invalid pid', 'body')
  const { pid: givenPid, ...fields } = isObject(value) ? value : {}
  const pid = pidOf(givenPid)
  if (pid === undefined) return refused(400, 'Invalid pid', 'pid')
  for (const [name, isWellFormed] of Object.entries(WELL_FORMED))
    if (Object.hasOwn(fields, name) && !isWellFormed(fields[name])) return refused(400, `Invalid ${name}`, name)
  if (Object.keys(fields).some((name) => !Object.hasOwn(WELL_FORMED, name)))
    return refused(400, 'Unknown field', 'unknown field')
  if (pid >= 2 ** 31) return answered({ code: 'ESRCH' })
  const { dryRun, ...others } = fields
  const call: Call = { pid, ...others, ...(dryRun === true && { dryRun }) }
  const unsupported = CONDITIONS.find((name) => call[name] !== undefined && !supports.includes(name))
  if (unsupported) return answered({ code: `no ${unsupported}` })
  try {
    return { ...answered(does(call)), call }
  } catch {
    return { status: 500, body: '{"error":"Failed to kill process"}', reason: null, call }
  }
}

const odd = fc.constantFrom
const text = (value: unknown) => JSON.stringify(value)
const bytes = (body: string) => new TextEncoder().encode(body)
const mostly = <Value>(usual: fc.Arbitrary<Value>, rare: fc.Arbitrary<Value>, weight = 12) =>
  fc.oneof({ weight, arbitrary: usual }, { weight: 1, arbitrary: rare })

/** Valid and invalid JSON for a PID. Whoever parses the invalid ones leniently gets this PID too. */
const pidText = (pid: bigint) => {
  const right = [`${pid}`, `${pid}.0`, `${pid}e0`, `${pid}0E-1`, `"${pid}"`, `" ${pid}\\t"`, `"\\n\\u00a000${pid}"`]
  const strings = ['abc', 'e0', '.0', 'n', '\\u0000', ` ${pid}`].map((end) => `"${pid}${end}"`)
  const others = [`-${pid}`, `"-${pid}"`, `"+${pid}"`, `"\\u200b${pid}"`, `[${pid}]`, `["${pid}"]`, `{"pid":${pid}}`]
  return mostly(odd(...right), odd(...strings, ...others, `${pid}.5`, 'null', 'false', '""', '"\\u0661"', '1e400'), 6)
}

const near = (limit: bigint) => fc.bigInt({ min: limit - 3n, max: limit + 3n })
/** PIDs of all sizes, near each limit. For a fake signaller only. */
const anyPid = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 70n }), ...[3n, 2n ** 31n, 2n ** 53n].map(near), odd(1234n))
/** PIDs that no system has: Linux has at most 4194304 (proc(5), pid_max). */
const impossiblePid = fc.oneof(
  fc.bigInt({ min: 4_194_305n, max: 2n ** 53n }),
  ...[4_194_308n, 2n ** 31n, 2n ** 32n, 2n ** 53n].map(near),
)

const junk = fc.json({ maxDepth: 1 })
const length = (count: number, unit = 'x') => text(unit.repeat(count))
const oneOf = (list: string) => odd(...list.split(' '))
const INSTANCE = '0a1b2c3d4e5f6071-1234-567890'
/** The JSON of each field: sometimes malformed. */
const VALUES = {
  instance: mostly(odd(text(INSTANCE), length(64)), odd('""', '"a b"', '"a\\n"', '"é"', length(65))),
  waitMs: mostly(oneOf('0 -0 1 1.0'), oneOf('-1 0.5 60001 "0" 1e400')),
  dryRun: mostly(oneOf('true false'), oneOf('0 1 "true"')),
  command: mostly(odd('"node"', '""', length(100)), oneOf('0 true ["node"]')),
  comment: mostly(odd(length(200), length(200, '😀'), length(200, '\ud800')), odd(length(201), length(201, 'é'))),
}
const UNKNOWN = ['startedBefore', 'PID', 'pid ', 'waitms', 'dry_run', '', '__proto__', 'constructor', 'toString']
const anyName = odd(...UNKNOWN, ...Object.keys(VALUES))

/** Objects with the fields of a request in any order. Sometimes a field is malformed or unknown. */
const bodyText = (pid: fc.Arbitrary<bigint>) =>
  fc
    .record({
      pid: pid.chain(pidText),
      fields: fc.record(VALUES, { requiredKeys: [] }),
      more: mostly<[string, string][]>(fc.constant([]), fc.array(fc.tuple(anyName, junk), { maxLength: 2 })),
    })
    .map(({ pid, fields, more }) => [['pid', pid], ...Object.entries(fields), ...more])
    .chain((entries) => fc.shuffledSubarray(entries, { minLength: entries.length }))
    .map((entries) => `{${entries.map(([name, value]) => `${text(name)}:${value}`).join()}}`)

/** Sometimes adds white space, to about 4096 bytes. (Text has more bytes than characters.) */
const padded = (body: fc.Arbitrary<string>) =>
  fc
    .tuple(body, mostly(fc.constant(0), fc.integer({ min: 4093, max: 4099 })))
    .map(([text, length]) => bytes(text.padEnd(length)))

/** A change of a few characters. */
const damaged = (body: fc.Arbitrary<string>) =>
  fc
    .tuple(body, fc.nat(), fc.nat(3), fc.string({ unit: odd(...'"{}:,0-.e\\ '), maxLength: 2 }))
    .map(([text, at, gone, put]) => [...text].toSpliced(at % (text.length + 1), gone, put).join(''))

const TYPES = ['application/json', 'Application/JSON ;charset=utf-8', 'application/merge-patch+json', 'text/plain']
const asked = (body: fc.Arbitrary<Asked['body']>, types: fc.Arbitrary<Asked['type']>, methods: string) => {
  const type = mostly<Asked['type']>(fc.constant('application/json'), types)
  return fc.record({ method: mostly(fc.constant('POST'), oneOf(methods)), type, body })
}

/** Requests of all kinds. For a fake signaller only: the PID may be anybody's. */
export const anyRequest = asked(
  fc.oneof(
    { weight: 8, arbitrary: padded(bodyText(anyPid)) },
    damaged(bodyText(anyPid)).map(bytes),
    fc.oneof(fc.json(), fc.string(), odd('', '\ufeff{"pid":7}', '{"pid":8,"pid":7}', '[{"pid":7}]')).map(bytes),
    fc.uint8Array({ maxLength: 60 }).map((body) => Uint8Array.from(body)),
  ),
  fc.oneof(odd(...TYPES, 'text/json', 'application/json5', undefined), fc.stringMatching(/^[ -~]{0,12}$/)),
  'GET HEAD PUT DELETE OPTIONS QUERY post TRACE CONNECT __proto__',
)

/** Requests that can signal nothing, even if their PID is half-parsed. */
export const harmlessRequest = asked(padded(bodyText(impossiblePid)), odd(...TYPES, undefined), 'GET PUT')

const CODES: OutcomeCode[] = [
  ...(['sent', 'exited', 'running', 'would send', 'EPERM', 'ESRCH', 'too many waits'] as const),
  ...CONDITIONS.map((name) => `no ${name}` as const),
]
const REASONS: SignallerReason[] = ['zombie', 'other instance', 'protected', 'hidden', 'uid']
const PROCESS = { command: 'node', uid: 1000, instance: INSTANCE, startedAt: '2026-11-24T08:00:00.120Z' }

/** Signallers of all kinds. Each always does the same. */
export const anySignaller: fc.Arbitrary<Behaviour> = fc
  .record({
    supports: mostly(fc.constant<string[]>([...CONDITIONS]), fc.subarray<string>([...CONDITIONS])),
    code: mostly<OutcomeCode | undefined>(odd(...CODES), fc.constant(undefined)),
    reason: fc.option(odd(...REASONS), { nil: undefined }),
  })
  .map(({ supports, code, reason }) => ({
    supports,
    does: () => {
      if (code === undefined) throw new Error('unexpected')
      return code === 'would send' ? { code, process: PROCESS } : { code, reason }
    },
  }))
