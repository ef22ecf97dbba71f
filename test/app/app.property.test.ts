import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createApp } from '../../src/index.ts'
import { json, KILL, postRaw, read } from '../support/post.ts'
import { conditionalSignaller, recordingSignaller } from '../support/recording-signaller.ts'

const MAX_PID = 2147483647n
const MAX_SAFE = 9007199254740991n

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The PID that a value of JSON denotes, computed digit by digit. */
const pidOf = (value: unknown): bigint | undefined => {
  const digits = typeof value === 'string' ? value.trim() : typeof value === 'number' ? value.toFixed(0) : ''
  if (digits === '' || Array.from(digits).some((char) => !'0123456789'.includes(char))) return undefined
  const pid = BigInt(digits)
  return pid < 1n || pid > MAX_SAFE || (typeof value === 'number' && Number(pid) !== value) ? undefined : pid
}

const isWait = (value: unknown) => typeof value === 'number' && value >= 0 && value <= 60_000 && value % 1 === 0

/** The instant that a date-time with an offset denotes, in milliseconds, from its fields. */
const timeOf = (value: unknown): number | undefined => {
  if (typeof value !== 'string') return undefined
  const fields = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:Z|([+-])(\d\d):(\d\d))$/.exec(value)
  if (!fields) return undefined
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = fields.slice(1, 7).map(Number)
  const [fraction = '', sign, hours = 0, minutes = 0] = fields.slice(7)
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return undefined
  if (Math.max(hour, Number(hours)) > 23 || Math.max(minute, second, Number(minutes)) > 59) return undefined
  const offset = (Number(hours) * 60 + Number(minutes)) * (sign === '-' ? -1 : 1)
  const milliseconds = Number(fraction.slice(0, 3).padEnd(3, '0'))
  return date.getTime() + ((hour * 60 + minute - offset) * 60 + second) * 1000 + milliseconds
}

const isComment = (value: unknown) => typeof value === 'string' && Array.from(value).length <= 200

type Call = readonly [pid: number, ...conditions: unknown[]]

/** What the contract says about a body: the answer, and what reaches the signaller. */
const expected = (body: unknown, canWait: boolean): { answer: ReturnType<typeof json>; calls: Call[] } => {
  const refuse = (status: number, error: string) => ({ answer: json(status, JSON.stringify({ error })), calls: [] })
  const fields: Record<string, unknown> = isObject(body) ? body : {}
  const { pid: rawPid, startedBefore, waitMs, dryRun, command, comment, ...unknown } = fields
  const pid = pidOf(rawPid)
  if (pid === undefined) return refuse(400, 'Invalid pid')
  if (startedBefore !== undefined && timeOf(startedBefore) === undefined) return refuse(400, 'Invalid startedBefore')
  if (waitMs !== undefined && !isWait(waitMs)) return refuse(400, 'Invalid waitMs')
  if (dryRun !== undefined && typeof dryRun !== 'boolean') return refuse(400, 'Invalid dryRun')
  if (command !== undefined && typeof command !== 'string') return refuse(400, 'Invalid command')
  if (comment !== undefined && !isComment(comment)) return refuse(400, 'Invalid comment')
  if (Object.keys(unknown).length > 0) return refuse(400, 'Unknown field')
  if (pid > MAX_PID) return refuse(404, 'Process not found')
  if (!canWait && startedBefore !== undefined) return refuse(501, 'startedBefore is not supported here')
  if (!canWait && waitMs !== undefined) return refuse(501, 'waitMs is not supported here')
  if (!canWait && dryRun) return refuse(501, 'dryRun is not supported here')
  if (!canWait && command !== undefined) return refuse(501, 'command is not supported here')
  const conditions = [timeOf(startedBefore), waitMs, dryRun || undefined, command]
  // Without a condition no more is remembered.
  const all = conditions.every((value) => value === undefined) ? [] : [...conditions, comment]
  return { answer: json(200, '{"ok":true}'), calls: [[Number(pid), ...all]] }
}

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Asks both kinds of signaller and compares with the contract. */
const check = async (text: string) => {
  const onError = (cause: unknown) => {
    throw cause
  }
  const plain = recordingSignaller()
  const able = conditionalSignaller()
  // A body may begin with a byte order mark, which is no part of the JSON, and UTF-8 has no half of a surrogate pair.
  const body = parsed(text.toWellFormed().replace(/^\ufeff/, ''))
  for (const [signaller, canWait] of [
    [plain, false],
    [able, true],
  ] as const) {
    const { answer, calls } = expected(body, canWait)
    expect(await read(postRaw(createApp({ signaller, onError }), text))).toEqual(answer)
    const conditional = 'calls' in signaller ? able.calls : []
    const seen: Call[] = [
      ...signaller.pids.map((pid): Call => [pid]),
      ...conditional.map(({ pid, delivery: { startedBefore, waitMs, dryRun, command, comment } }): Call => {
        return [pid, startedBefore?.getTime(), waitMs, dryRun, command, comment]
      }),
    ]
    expect(seen).toEqual(calls)
  }
}

const odd = fc.constantFrom

const anyDigits = fc.oneof(
  fc.integer({ min: -5, max: 2 ** 31 + 5 }).map(String),
  fc.maxSafeInteger().map(String),
  fc.bigInt({ min: 0n, max: 2n ** 70n }).map(String),
  fc.integer({ min: -3, max: 3 }).map((n) => String(2 ** 31 + n)),
  fc.integer({ min: -3, max: 3 }).map((n) => String(BigInt(n) + 2n ** 53n)),
  fc.integer({ min: -3, max: 3 }).map((n) => String(2 ** 32 + n)),
)
const space = fc.string({
  unit: odd(' ', '\t', '\n', '\r', '\u00a0', '\u2028', '\ufeff', '\u200b', '\u0000'),
  maxLength: 3,
})
const junk = fc.string({ unit: odd('', '0', '+', '-', '.', 'e', 'x', 'n', '_', ',', '١', '²'), maxLength: 2 })
const likeDigits = fc.tuple(space, junk, anyDigits, junk, space).map((parts) => parts.join(''))

const anyTime = fc.oneof(
  odd(
    '2026-11-24T08:00:00Z',
    '2026-11-24T08:00:00.1239+05:30',
    '2028-02-29T23:59:59-23:59',
    '2026-02-29T08:00:00Z',
    '2026-11-24',
  ),
  fc.date({ min: new Date(0), max: new Date('9999-01-01'), noInvalidDate: true }).map((date) => date.toISOString()),
)
const anyWait = fc.oneof(fc.integer({ min: -2, max: 60_002 }), fc.double(), odd(0, -0, 60_000, 60_001, '0'))
const anyComment = fc.string({ unit: odd('a', '\n', '\u0000', 'é', '😀', '\ud800'), minLength: 190, maxLength: 210 })
const anyPid = fc.oneof(
  fc.integer({ min: 1 }),
  fc.double(),
  anyDigits.map(Number),
  anyDigits,
  likeDigits,
  fc.jsonValue(),
)

const anyRequest = fc.record(
  {
    pid: fc.oneof({ weight: 3, arbitrary: fc.integer({ min: 1, max: 2 ** 31 + 2 }) }, { weight: 3, arbitrary: anyPid }),
    startedBefore: fc.oneof({ weight: 3, arbitrary: anyTime }, { weight: 1, arbitrary: fc.jsonValue() }),
    waitMs: fc.oneof({ weight: 3, arbitrary: anyWait }, { weight: 1, arbitrary: fc.jsonValue() }),
    dryRun: fc.oneof({ weight: 3, arbitrary: fc.boolean() }, { weight: 1, arbitrary: fc.jsonValue() }),
    command: fc.oneof({ weight: 3, arbitrary: fc.string() }, { weight: 1, arbitrary: fc.jsonValue() }),
    comment: fc.oneof({ weight: 3, arbitrary: anyComment }, { weight: 1, arbitrary: fc.jsonValue() }),
  },
  { requiredKeys: [] },
)

/** The same with fields that nobody knows, most of them nearly right. */
const anyMisspelt = fc
  .tuple(
    anyRequest,
    odd(
      'startedbefore',
      'started_before',
      'PID',
      'wait',
      'dryrun',
      'dry_run',
      'Command',
      '',
      '__proto__',
      'constructor',
    ),
    fc.jsonValue(),
  )
  .map(([request, name, value]) =>
    JSON.stringify(request).replace(/^\{/, `{${JSON.stringify(name)}:${JSON.stringify(value)},`),
  )
  .map((text) => text.replace(/,\}$/, '}'))

const small = (text: string) => new TextEncoder().encode(text).length <= 4096

const holds = (text: fc.Arbitrary<string>, numRuns: number) =>
  fc.assert(fc.asyncProperty(text.filter(small), check), { numRuns })

test('any JSON gets the answer of the contract', () =>
  holds(
    fc.jsonValue().map((value) => JSON.stringify(value)),
    300,
  ))

test('any PID gets the answer of the contract', () =>
  holds(
    anyPid.map((pid) => JSON.stringify({ pid })),
    1000,
  ))

test('any fields get the answer of the contract', () =>
  holds(
    anyRequest.map((request) => JSON.stringify(request)),
    1000,
  ))

test('any unknown field gets the answer of the contract, and no signal', () => holds(anyMisspelt, 500))

test('a number is what its digits say, however it is written', () => {
  // Up to 15 digits, a double tells every decimal from every integer.
  const written = fc.tuple(fc.bigInt({ min: 0n, max: 10n ** 15n - 1n }), fc.integer({ min: -20, max: 20 }))
  return fc.assert(
    fc.asyncProperty(written, odd('', '-'), odd('e', 'E'), async ([digits, exponent], sign, e) => {
      const scale = 10n ** BigInt(Math.abs(exponent))
      const value = exponent >= 0 ? digits * scale : digits % scale === 0n ? digits / scale : 0n
      const signaller = recordingSignaller()
      const text = `{"pid":${sign}${digits}${e}${exponent}}`
      const [status] = await read(postRaw(createApp({ signaller }), text))
      const isPid = sign === '' && value >= 1n && value <= MAX_SAFE
      expect(status).toBe(isPid ? (value <= MAX_PID ? 200 : 404) : 400)
      expect(signaller.pids).toEqual(isPid && value <= MAX_PID ? [Number(value)] : [])
    }),
    { numRuns: 1000 },
  )
})

test('any text gets the answer of the contract', () =>
  holds(fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.json(), likeDigits), 500))

test('any text near JSON gets the answer of the contract', () => {
  const cut = fc.tuple(
    anyRequest.map((request) => JSON.stringify(request)),
    fc.nat(),
    fc.nat(3),
    fc.string({ unit: odd('"', '{', '}', ':', ',', '0', '-', '.', 'e', '\\', ' '), maxLength: 2 }),
  )
  return holds(
    cut.map(([text, at, gone, put]) => {
      const index = at % (text.length + 1)
      return text.slice(0, index) + put + text.slice(index + gone)
    }),
    1000,
  )
})

test('any bytes, under any header, get an answer of the table and reach no signaller but as a PID', () => {
  const answers = [
    json(200, '{"ok":true}'),
    ...['Invalid pid', 'Invalid startedBefore', 'Invalid waitMs', 'Invalid dryRun', 'Unknown field'].map((error) =>
      json(400, JSON.stringify({ error })),
    ),
    json(404, '{"error":"Process not found"}'),
    json(413, '{"error":"Payload Too Large"}'),
  ].map(String)
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc.tuple(fc.uint8Array({ max: 255, maxLength: 3 }), fc.nat(11)).map(([noise, at]) => {
      const text = new TextEncoder().encode('{"pid":1234}')
      text.set(noise.subarray(0, text.length - at), at)
      return text
    }),
    fc.integer({ min: 4000, max: 4200 }).map((length) => new Uint8Array(length).fill(32)),
  )
  const header = fc.oneof(fc.constant(undefined), fc.stringMatching(/^[ -~]{0,12}$/))
  const type = fc.oneof(fc.constant('application/json'), header)
  const length = fc.oneof(fc.constant(undefined), fc.nat(5000).map(String), header)
  return fc.assert(
    fc.asyncProperty(bytes, type, length, async (body, contentType, contentLength) => {
      const signaller = conditionalSignaller()
      const headers = { 'content-type': contentType, 'content-length': contentLength }
      const answer = await read(postRaw(createApp({ signaller }), Uint8Array.from(body), headers))
      expect(answers).toContain(String(answer))
      const pids = [...signaller.pids, ...signaller.calls.map(({ pid }) => pid)]
      expect(pids).toHaveLength(answer[0] === 200 ? 1 : 0)
      for (const pid of pids) expect(Number.isInteger(pid) && pid >= 1 && pid <= 2 ** 31 - 1).toBe(true)
    }),
    { numRuns: 1000 },
  )
})

test('any method is 405 or, as POST, the contract', () => {
  const token = fc.stringMatching(/^[A-Za-z!#$%&'*+.^_`|~0-9-]{1,12}$/)
  return fc.assert(
    fc.asyncProperty(token, async (method) => {
      const signaller = recordingSignaller()
      const request = new Request(`http://localhost${KILL}`)
      const response = await createApp({ signaller }).fetch(Object.defineProperty(request, 'method', { value: method }))
      expect(response.status).toBe(method === 'POST' ? 400 : 405)
      expect(signaller.pids).toEqual([])
    }),
  )
})
