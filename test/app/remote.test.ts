import { getEventListeners } from 'node:events'
import type { RequestListener } from 'node:http'
import { describe, expect, test, vi } from 'vitest'
import { createApp } from '../../src/app/app.ts'
import { answers, serverAnswers } from '../../src/app/contract.ts'
import { type PeerRequest, type RemoteSignallerOptions, remoteSignaller } from '../../src/app/remote.ts'
import { CONDITIONS, type Delivery } from '../../src/app/signaller.ts'
import { startPeer } from '../support/peer.ts'
import { post, refusal, streamOf, told } from '../support/post.ts'
import { TOKEN } from '../support/server.ts'

// No system has it (proc(5), pid_max).
const PID = 2 ** 31 - 1
const DELIVERY: Delivery = { stopWaiting: [], onSignal: () => {} }
const SENT = '{"ok":true}'
const FAILED = [500, '{"error":"Failed to kill process"}', null]

/** An app in front of a peer, and what its log would get. */
const gateway = (options: Partial<RemoteSignallerOptions>) => {
  const causes: unknown[] = []
  const signaller = remoteSignaller({ url: 'http://peer', ...options })
  const app = createApp({ signaller, onError: (cause) => causes.push(cause) })
  return { causes, kill: (body: object) => told(post(app, { pid: PID, ...body })) }
}

/** A `fetch` to a peer that always answers the same. */
const answering = (status: number, text: string, reason = 'none') =>
  vi.fn(async (_url: string, _init: PeerRequest) => {
    return new Response(text, { status, headers: { 'Psys-Kill-Reason': reason } })
  })

/** What a gateway answers if its peer answers this. The log of a 500 must tell the status, and no text of the peer. */
const through = async (status: number, text: string, fields: object = {}, reason?: string) => {
  const { causes, kill } = gateway({ fetch: answering(status, text, reason), token: TOKEN })
  const answer = await kill(fields)
  const error = new Error(`http://peer/api/connections/kill answered ${status}`)
  expect(causes).toEqual(answer[0] === 500 ? [error] : [])
  return answer
}

const textOf = ({ body }: { body: object }) => JSON.stringify(body)

const SEEN = { command: 'node', uid: 1000, instance: '0a1b2c3d-1234-567890', startedAt: '2026-11-24T08:00:00.120Z' }
const dry = (process?: object) => JSON.stringify({ ok: true, dryRun: true, process })

describe('the answer of a peer', () => {
  test.each([
    ['with the process', dry(SEEN), SEEN],
    ['with its name alone, of 15 characters', dry({ command: 'é'.repeat(15) }), { command: 'é'.repeat(15) }],
    ['without it', dry(), undefined],
    ['with more than is known here', dry({ ...SEEN, ppid: 1 }), SEEN],
  ])('to a dry run comes out, %s, and nothing is said to be forwarded', async (_, text, process) => {
    const { terminate } = remoteSignaller({ url: 'http://peer', fetch: answering(200, text) })
    const outcome = await terminate(PID, { ...DELIVERY, dryRun: true, onSignal: () => expect.unreachable() })
    expect(outcome).toEqual({ code: 'would send', command: process?.command, process })
  })

  const UNSIGNALLED = ['EPERM', 'ESRCH', 'too many waits', ...CONDITIONS.map((name) => `no ${name}` as const)] as const
  test.each([
    ...(['sent', ...UNSIGNALLED] as const).map((code) => [code, {}] as const),
    ...(['exited', 'running', ...UNSIGNALLED] as const).map((code) => [code, { waitMs: 5 }] as const),
    ...(['would send', ...UNSIGNALLED] as const).map((code) => [code, { dryRun: true, waitMs: 5 }] as const),
  ])('%s comes out unchanged of a kill with %j', async (code, fields) => {
    const row = answers[code]
    const reason = 'usualReason' in row ? row.usualReason : undefined
    expect(await through(row.status, textOf(row), fields)).toEqual([row.status, textOf(row), reason ?? null])
  })

  test.each([
    [403, 'EPERM', 'uid', 'uid'],
    [404, 'ESRCH', 'zombie', 'zombie'],
    // Words that are not of a signaller, or none of ours.
    [403, 'EPERM', 'host', 'not permitted'],
    [404, 'ESRCH', 'path', 'gone'],
    [404, 'ESRCH', `token ${TOKEN}`, 'gone'],
    [404, 'ESRCH', '', 'gone'],
    [501, 'no waitMs', 'zombie', 'not supported'],
    [503, 'too many waits', 'zombie', 'too many waits'],
  ] as const)('%i %s with the reason %j has the reason %s', async (status, code, given, reason) => {
    const text = textOf(answers[code])
    expect(await through(status, text, { waitMs: 5 }, given)).toEqual([status, text, reason])
  })

  test.each([{}, { dryRun: true }])('of a 2.0 peer that does not know instance is a 501: %j', async (fields) => {
    const text = textOf(answers['unknown field'])
    const unable = refusal(501, 'instance is not supported here', 'not supported')
    expect(await through(400, text, { instance: 'a-1-2', ...fields })).toEqual(unable)
  })

  type Odd = [status: number, text: string, fields?: object]
  const rows = (['bad pid', 'bad method', 'too large', 'failed', 'exited'] as const).map((name) => answers[name])
  test.each<Odd>([
    ...[...rows, ...Object.values(serverAnswers)].map((row): Odd => [row.status, textOf(row)]),
    ...[200, 201, 403, 404, 502].map((status): Odd => [status, `<html>Bearer ${TOKEN}</html>`]),
    ...[201, 404].map((status): Odd => [status, SENT]),
    ...['', dry(), dry(SEEN)].map((text): Odd => [200, text]),
    [400, textOf(answers['unknown field']), { command: 'x' }],
    // Whoever asks for the exit must be told.
    [200, SENT, { waitMs: 5 }],
    ...[
      // Release 1.0 does not know the field, and kills.
      ...[SENT, textOf(answers.exited), textOf(answers.running)],
      ...['{"ok":true,"dryRun":false}', '{"dryRun":true,"ok":true}', '{"ok":true,"dryRun":true,"process":null}'],
      ...[{ command: 1 }, { command: 'x'.repeat(16) }, { command: 'x', uid: -1 }, { command: 'x', uid: '0' }].map(dry),
      ...[{ command: 'x', startedAt: '<b>' }, { command: 'x', instance: 'a b' }, { uid: 1 }].map(dry),
      ...[`{"ok":true,"dryRun":true,"process":<${TOKEN}>`, `{"ok":true,"dryRun":true ${TOKEN}`, '<html></html>'],
    ].map((text): Odd => [200, text, { dryRun: true }]),
    [400, textOf(answers['unknown field']), { dryRun: true }],
    [201, dry(), { dryRun: true }],
    [404, dry(SEEN), { dryRun: true }],
  ])('%i %s is no outcome: a 500 whose log tells the status alone', async (status, text, fields = {}) => {
    expect(await through(status, text, fields, TOKEN)).toEqual(FAILED)
  })

  test('is read up to 4 KiB, in any pieces', async () => {
    const ask = (body: BodyInit | null) => gateway({ fetch: async () => new Response(body) }).kill({ dryRun: true })
    const look = dry({ command: 'é' })
    const pieces = streamOf(Array.from(new TextEncoder().encode(look), (byte) => Uint8Array.of(byte)))
    expect(await ask(pieces.stream)).toEqual([200, look, null])
    const large = streamOf(Array.from({ length: 9 }, () => new Uint8Array(1024).fill(32)))
    expect(await ask(large.stream)).toEqual(FAILED)
    expect(large.taken()).toBe(5)
    expect(await ask(null)).toEqual(FAILED)
  })
})

const SECRET = 'hunter2-secret'
test.each<Partial<RemoteSignallerOptions>>([
  ...[SECRET, `//${SECRET}`, `xhttp:${SECRET}`, `httpx:${SECRET}`, `http://${SECRET}:port`].map((url) => ({ url })),
  ...[`http://${SECRET}@peer`, `http://:${SECRET}@peer`, `http://peer?token=${SECRET}`].map((url) => ({ url })),
  ...[`http://peer/#${SECRET}`, '', 'localhost:3000'].map((url) => ({ url })),
  ...['', ' ', `${SECRET}\n`, `Bearer ${SECRET}`, `${SECRET}é`, `a=${SECRET}`].map((token) => ({ token })),
])('what cannot be used is a TypeError that does not repeat it: %j', (options) => {
  const create = () => remoteSignaller({ url: 'http://peer', ...options })
  expect(create).toThrow(TypeError)
  expect(create).toThrow(/^The (URL|token) of the peer must (have|be) /)
  expect(create).not.toThrow(SECRET)
})

describe('the request to a peer', () => {
  const FIELDS = { instance: 'a-1-2', waitMs: 0, command: 'node', comment: 'ticket \u2028 4711' }
  test.each<[url: string, at: string, fields?: Partial<Delivery>, token?: string]>([
    ['http://peer:3000', 'http://peer:3000'],
    ['http://peer/', 'http://peer'],
    ['https://proxy.example/hosts/a//', 'https://proxy.example/hosts/a'],
    ['http://peer/api/connections/kill', 'http://peer', FIELDS, TOKEN],
  ])('at %s is announced, then goes to %s with the PID, the fields and the token', async (url, at, fields, token) => {
    using timeout = vi.spyOn(AbortSignal, 'timeout')
    const fetch = answering(404, textOf(answers.ESRCH))
    const onSignal = vi.fn()
    const { terminate } = remoteSignaller({ url, token, fetch })
    expect(await terminate(PID, { ...DELIVERY, ...fields, onSignal })).toEqual({ code: 'ESRCH' })
    expect(onSignal).toHaveBeenCalledExactlyOnceWith({ code: 'forwarded' })
    expect(onSignal).toHaveBeenCalledBefore(fetch)
    expect(timeout.mock.calls).toEqual([[5000]])
    expect(fetch).toHaveBeenCalledExactlyOnceWith(`${at}/api/connections/kill`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) },
      body: JSON.stringify({ pid: PID, ...fields }),
      redirect: 'manual',
      signal: expect.any(AbortSignal),
    })
  })

  test('is aborted when the client leaves, or the server stops', async () => {
    const leaving = new AbortController()
    const fetch = async (_url: string, { signal }: PeerRequest) => {
      leaving.abort('has left')
      throw signal.reason
    }
    const stopWaiting = [new AbortController().signal, leaving.signal]
    // Nobody knows here whether the peer had sent the signal.
    const outcome = remoteSignaller({ url: 'http://peer', fetch }).terminate(PID, { ...DELIVERY, stopWaiting })
    await expect(outcome).rejects.toBe('has left')
  })

  test.each([
    ['does not answer', () => {}],
    ['does not end its answer', (_request, response) => response.writeHead(200).write('{"ok":')],
  ] satisfies [string, RequestListener][])('fails if the peer %s in its timeout and waitMs', async (_, answer) => {
    using timeout = vi.spyOn(AbortSignal, 'timeout')
    using peer = await startPeer(answer)
    const { kill, causes } = gateway({ url: peer.url, timeoutMs: 50 })
    expect(await kill({ waitMs: 100 })).toEqual(FAILED)
    expect(causes).toMatchObject([{ name: 'TimeoutError' }])
    expect(timeout.mock.calls).toEqual([[150]])
    // Without a listener, Node 20 may collect the signal before it fires.
    for (const { value } of timeout.mock.results) expect(getEventListeners(value, 'abort')).toHaveLength(1)
  })

  test.each([
    ['421, after which fetch in Node would try again', (_request, response) => response.writeHead(421).end()],
    ['503', (_request, response) => response.writeHead(503, { 'retry-after': '0' }).end()],
    ['a redirect', (_request, response) => response.writeHead(307, { location: '/elsewhere' }).end()],
    ['a reset connection', (request) => request.socket.resetAndDestroy()],
    ['a closed connection', (request) => request.socket.end()],
  ] satisfies [string, RequestListener][])('is sent once if the answer is %s', async (_name, answer) => {
    // The connection is kept alive after the first request.
    using peer = await startPeer((request, response) =>
      peer.bodies.length === 1 ? response.end(SENT) : answer(request, response),
    )
    const { kill, causes } = gateway({ url: peer.url, token: TOKEN })
    expect(await kill({})).toEqual([200, SENT, null])
    expect(await kill({})).toEqual(FAILED)
    expect(causes).toHaveLength(1)
    expect(String(causes)).not.toContain(TOKEN)
    expect(peer.bodies).toEqual(Array(2).fill(JSON.stringify({ pid: PID })))
  })
})
