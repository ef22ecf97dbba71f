import { getRequestListener } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { describe, expect, test, vi } from 'vitest'
import { createApp } from '../../src/index.ts'
import { startPeer } from '../support/peer.ts'
import { conditionalSignaller, KILL, postRaw, refusal, STREAMING, streamOf, told } from '../support/post.ts'

const OK = [200, '{"ok":true}', null] as const
const INVALID_PID = refusal(400, 'Invalid pid', 'pid')
const NOT_JSON = refusal(400, 'Invalid pid', 'body')
const NOT_SENT_AS_JSON = refusal(400, 'Invalid pid', 'content-type')
const UNKNOWN_FIELD = refusal(400, 'Unknown field', 'unknown field')
const TOO_LARGE = refusal(413, 'Payload Too Large', 'size')
const FAILED = [500, '{"error":"Failed to kill process"}', null] as const

type Answer = readonly [status: number, body: string, reason: string | null]
type Headers = Record<string, string | undefined>

/** Sends a body, and expects this answer and no unexpected error. A refused request must reach no signaller. */
const expectAnswer = async (body: BodyInit | null, answer: Answer, headers: Headers = {}) => {
  const onError = vi.fn()
  const signaller = conditionalSignaller()
  expect(await told(postRaw(createApp({ signaller, onError }), body, headers))).toEqual(answer)
  expect(onError).not.toHaveBeenCalled()
  expect([...signaller.pids, ...signaller.calls]).toEqual(answer === OK ? [1234] : [])
}

describe('a PID', () => {
  test.each([
    ...['1234', '1234.0', '12.34e2', '12340E-1', '"1234"', '"001234"', '" 1234 "', '"\\t\\r\\n\\u000b\\f1234\\n"'],
    ...['"\\u00a0\\u2028\\u3000\\ufeff1234"', `"${'0'.repeat(400)}1234"`, '1,"pid":1234', '1234,"dryRun":false'],
  ])('may be %s', (pid) => expectAnswer(`{"pid":${pid}}`, OK))

  const numbers = ['0', '-0', '-1', '-1234', '1.5', '1234.0000001', '5e-324', '1e400', '-1e400', '1e16']
  const halfParsed = ['12abc', 'abc', '1e3', '0x10', '0b11', '1.9', '12.', '12.0', '+5', '-5', '0', '00', '-0']
  const odd = ['', ' ', '1 2', '1,2', '1_000', '12n', 'NaN', 'Infinity', 'null', 'true', '\0', '12\0', '1\n2']
  const otherDigits = ['١٢', '１２', '²', '五', 'Ⅷ', '\u200b12', '12\u200b', '\u180e12', '9'.repeat(400)]
  const strings = [...halfParsed, ...odd, ...otherDigits].map((text) => JSON.stringify(text))
  const types = ['null', 'true', 'false', '[]', '[5]', '["5"]', '{}', '{"pid":5}', '{"valueOf":5}']
  test.each([...numbers, ...strings, ...types])('cannot be %s', async (pid) => {
    await expectAnswer(`{"pid":${pid}}`, INVALID_PID)
    await expectAnswer(`{"pid":1234,"pid":${pid},"waitMs":0}`, INVALID_PID)
  })
})

const latin1 = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0))
const utf16 = (text: string) => new Uint8Array(Uint16Array.from(text, (char) => char.charCodeAt(0)).buffer)

describe('a body', () => {
  test.each([
    ...['{}', '{"PID":1234}', '{"pid ":1234}', '{"__proto__":{"pid":1234}}', '{"a":{"pid":1234}}'],
    ...['1234', '"1234"', 'null', 'true', '""', '[]', '[1234]', '["pid",1234]', '[{"pid":1234}]'],
  ])('that is %s has no PID', (body) => expectAnswer(body, INVALID_PID))

  test.each([
    ...['', ' ', '{', '{"pid":', '{"pid":1234', '{"pid":1234}}', '{"pid":1234}{"pid":1}', '[['.repeat(2000)],
    ...['pid=1234', '{pid:1234}', "{'pid':1234}", '{"pid":1234,}', '{"pid":1234}//', '{"pid":01234}', '{"pid":+1}'],
    ...['{"pid":.5}', '{"pid":NaN}', '{"pid":0x10}', '{"pid":1_000}', '{"pid":"12', '{"pid":"\n12"}', '\0'],
    ...['\u00a0{"pid":1234}', '{"pid":1234}\0', ')]}\'\n{"pid":1234}', '<pid>1234</pid>'],
  ])('that is %j is not JSON', (body) => expectAnswer(body, NOT_JSON))

  test.each([
    ['a byte order mark', '\ufeff{"pid":1234}', OK],
    ['white space', '\n {"pid" :\t1234 }\r\n', OK],
    ['an escaped name', '{"\\u0070id":1234}', OK],
    ['a wrong byte in the PID', latin1('{"pid":"12\xff"}'), INVALID_PID],
    ['a wrong byte around the PID', latin1('{"pid":\xa01234}'), NOT_JSON],
    ['a wrong byte in another field', latin1('{"pid":1234,"x":"\xff"}'), UNKNOWN_FIELD],
    ['an overlong quote', latin1('{\xc0\xa2pid":1234}'), NOT_JSON],
    ['UTF-16', utf16('\ufeff{"pid":1234}'), NOT_JSON],
    ['nothing', null, NOT_JSON],
  ] as const)('with %s', (_what, body, answer) => expectAnswer(body, answer))

  const json = ['application/json', 'application/json ; x=y', 'Application/JSON', 'application/merge-patch+json']
  const others = [
    ...['text/plain;charset=UTF-8', 'application/x-www-form-urlencoded', 'multipart/form-data', 'json', ' ', undefined],
    ...['text/json', 'application/jsonp', 'application/json5', 'application/json-seq', 'xapplication/json', ';'],
    ...['text/plain, application/json', 'application/json, text/plain', 'text/plain;application/json'],
  ]
  const body = latin1('{"pid":1234}')
  test.each(json)('sent as %j', (type) => expectAnswer(body, OK, { 'content-type': type }))
  test.each(others)('sent as %j', (type) => expectAnswer(body, NOT_SENT_AS_JSON, { 'content-type': type }))
})

const CHUNKED = { 'transfer-encoding': 'chunked' }
const BESIDES = { ...CHUNKED, 'content-length': '12' }

test.each([
  [4096, CHUNKED, 4096, OK],
  [4096, BESIDES, 4096, OK],
  [9000, CHUNKED, 4097, TOO_LARGE],
  [9000, BESIDES, 4097, TOO_LARGE],
] as const)('of a body in %i chunks of one byte, with %j, %i are read', async (bytes, headers, count, answer) => {
  // The space takes three bytes.
  const body = new TextEncoder().encode('{"pid":"1234\u3000"}'.padEnd(bytes - 2))
  const { stream, taken } = streamOf(Array.from(body, (byte) => Uint8Array.of(byte)))
  await expectAnswer(stream, answer, headers)
  expect(taken()).toBe(count)
})

// No HTTP parser lets them through.
test.each(['abc', '4096abc', '0x10000', '12, 13', '1e99', 'Infinity'])('the length %j is too large', (length) =>
  expectAnswer('{"pid":1234}', TOO_LARGE, { 'content-length': length }),
)

// Opening it takes the Node adapter off its fast path, at a quarter of the throughput.
test('the stream of a body with a declared length is not opened', async () => {
  const init = { method: 'POST', headers: { 'content-type': 'application/json', 'content-length': '12' } }
  const request = new Request(`http://localhost${KILL}`, { ...init, body: '{"pid":1234}' })
  Object.defineProperty(request, 'body', { get: () => expect.unreachable() })
  expect(await told(createApp({ signaller: conditionalSignaller() }).fetch(request))).toEqual(OK)
})

test('an error of the host while the body is checked is a 500', async () => {
  const trap = Object.defineProperty({}, 'pid', { get: () => expect.unreachable(), enumerable: true })
  const service = new Hono().use((c, next) => {
    Object.assign(c.req, { json: async () => trap })
    return next()
  })
  service.route('/', createApp({ signaller: conditionalSignaller(), onError: () => {} }))
  expect(await told(postRaw(service, '{"pid":1234}'))).toEqual(FAILED)
})

test.each([{ 'content-length': '12' }, {}])('a body that ends early is a 400: %j', async (headers) => {
  const failing = () => Promise.reject(new Error('gone'))
  await expectAnswer(new ReadableStream({ pull: failing }), NOT_JSON, headers)
})

describe.each([{ 'content-length': '12' }, CHUNKED])('a body with %j that the host has read before', (headers) => {
  const bodyOf = (text: string) => ('transfer-encoding' in headers ? streamOf([latin1(text)]).stream : text)

  type Read = (c: Context) => Promise<unknown>
  /** Asks a service that reads the body first, here and over HTTP, or one behind a body parser. */
  const expectAfter = async (read: Read, text: string, answer: Answer, isParsed = false) => {
    const causes: unknown[] = []
    const signaller = conditionalSignaller()
    const service = new Hono()
      .use((c, next) => read(c).then(next))
      .route('/', createApp({ signaller, onError: (error) => causes.push(error) }))
    using server = await startPeer(getRequestListener(service.fetch), { reads: isParsed })
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: bodyOf(text), ...STREAMING }
    expect(await told(fetch(server.url + KILL, init))).toEqual(answer)
    if (!isParsed) expect(await told(postRaw(service, bodyOf(text), headers))).toEqual(answer)
    const message = 'The body was read before: mount psys-kill before body parsers'
    const advice = expect.objectContaining({ message, cause: expect.any(Error) })
    for (const cause of causes) expect(cause).toEqual(advice)
    expect(causes.length > 0).toBe(answer === FAILED)
    expect(new Set(signaller.pids)).toEqual(new Set(answer === OK ? [1234] : []))
  }

  test.each([
    ['json', (c: Context) => c.req.json().catch(() => {})],
    ['text', (c: Context) => c.req.text()],
    ['arrayBuffer', (c: Context) => c.req.arrayBuffer()],
    ['raw.clone', (c: Context) => c.req.raw.clone().text()],
  ])('by %s is there for psys-kill too', async (how, read) => {
    await expectAfter(read, '{"pid":1234}', OK)
    await expectAfter(read, '{"pid":1234 ', NOT_JSON)
    if (how !== 'raw.clone') await expectAfter(read, '', NOT_JSON)
  })

  test.each(['{"pid":1234}', '{"pid":1234 '])('by others is a 500 that says what to do: %s', async (text) => {
    await expectAfter((c) => c.req.raw.text(), text, FAILED)
    await expectAfter(async () => {}, text, FAILED, true)
  })
})
