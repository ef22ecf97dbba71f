import { describe, expect, test, vi } from 'vitest'
import { createApp } from '../../src/index.ts'
import { json, KILL, postRaw, read, STREAMING, streamOf } from '../support/post.ts'
import { recordingSignaller } from '../support/recording-signaller.ts'

const OK = json(200, '{"ok":true}')
const INVALID_PID = json(400, '{"error":"Invalid pid"}')
const TOO_LARGE = json(413, '{"error":"Payload Too Large"}')

/** A valid body of this many bytes, a third of them in white space of three bytes. */
const bodyOf = (bytes: number) => {
  const head = '{"pid":"1234'
  const wide = Math.floor((bytes - head.length - 2) / 9)
  const text = new TextEncoder().encode(`${head}${'\u3000'.repeat(wide)}`)
  const body = new Uint8Array(bytes).fill(' '.charCodeAt(0))
  body.set(text)
  body.set(new TextEncoder().encode('"}'), bytes - 2)
  return body
}

const slices = (body: Uint8Array<ArrayBuffer>, size: number) =>
  Array.from({ length: Math.ceil(body.length / size) }, (_, i) => body.slice(i * size, (i + 1) * size))

const THREE_MB = 3 * 1024 * 1024

const ways: [string, (body: Uint8Array<ArrayBuffer>) => [BodyInit, Record<string, string>]][] = [
  ['with a declared length', (body) => [body, { 'content-length': String(body.length) }]],
  ['without a declared length', (body) => [body, {}]],
  ['in one chunk', (body) => [streamOf([body]).stream, { 'transfer-encoding': 'chunked' }]],
  ['in chunks of 7 bytes', (body) => [streamOf(slices(body, 7)).stream, { 'transfer-encoding': 'chunked' }]],
  ['in chunks, and a length besides', (body) => [body, { 'transfer-encoding': 'chunked', 'content-length': '12' }]],
]

describe.each(ways)('a body %s', (_name, send) => {
  test.each([
    [20, OK],
    [4095, OK],
    [4096, OK],
    [4097, TOO_LARGE],
    [8192, TOO_LARGE],
    [THREE_MB, TOO_LARGE],
  ])('of %i bytes', async (bytes, answer) => {
    const signaller = recordingSignaller()
    const onError = vi.fn()
    const [body, headers] = send(bodyOf(bytes))
    expect(await read(postRaw(createApp({ signaller, onError }), body, headers))).toEqual(answer)
    expect(signaller.pids).toEqual(answer === OK ? [1234] : [])
    expect(onError).not.toHaveBeenCalled()
  })

  test('that is too large is refused before its type and syntax are looked at', async () => {
    const [body, headers] = send(new Uint8Array(4097))
    const app = createApp({ signaller: recordingSignaller() })
    expect(await read(postRaw(app, body, { ...headers, 'content-type': 'text/plain' }))).toEqual(TOO_LARGE)
  })
})

test('of a stream without end no more is taken than the limit', async () => {
  const endless = function* () {
    while (true) yield new Uint8Array(1024).fill(32)
  }
  const { stream, taken } = streamOf({ [Symbol.iterator]: endless })
  const app = createApp({ signaller: recordingSignaller() })
  expect(await read(postRaw(app, stream))).toEqual(TOO_LARGE)
  expect(taken()).toBe(5)
})

test.each(['abc', '-', '4096abc', '0x10000', '12, 13', '1e99', 'Infinity'])(
  'the length %j, which no HTTP parser lets through, is too large',
  async (length) => {
    const signaller = recordingSignaller()
    const answer = await read(postRaw(createApp({ signaller }), '{"pid":1234}', { 'content-length': length }))
    expect(answer).toEqual(TOO_LARGE)
    expect(signaller.pids).toEqual([])
  },
)

test('a declared length of 0 goes with no body', async () => {
  const app = createApp({ signaller: recordingSignaller() })
  expect(await read(postRaw(app, null, { 'content-length': '0' }))).toEqual(INVALID_PID)
})

// Opening it takes the Node adapter off its fast path, at a quarter of the throughput.
test('the stream of a body with a declared length is not opened', async () => {
  const open = vi.fn()
  const headers = { 'content-type': 'application/json', 'content-length': '12' }
  const request = new Request(`http://localhost${KILL}`, {
    method: 'POST',
    headers,
    body: '{"pid":1234}',
    ...STREAMING,
  })
  Object.defineProperty(request, 'body', { get: open })
  expect(await read(createApp({ signaller: recordingSignaller() }).fetch(request))).toEqual(OK)
  expect(open).not.toHaveBeenCalled()
})
