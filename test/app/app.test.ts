import { Hono } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { describe, expect, test, vi } from 'vitest'
import { createApp, type KillAttempt, type Outcome, type Signaller } from '../../src/index.ts'
import { conditionalSignaller, KILL, post, postRaw, recordingSignaller, refusal, told } from '../support/post.ts'

const EXITED = [200, '{"ok":true,"exited":true}', null] as const
const FAILED = [500, '{"error":"Failed to kill process"}', null] as const
const BUSY = refusal(503, 'Too many waits', 'too many waits')

const raise = (cause: unknown) => () => {
  throw cause
}

test.each([{ 'content-length': '23' }, {}])('stopWaiting has the signals of client and server: %j', async (headers) => {
  const [client, server] = [new AbortController(), new AbortController()]
  const signaller = conditionalSignaller()
  const app = createApp({ signaller, stopping: server.signal })
  await postRaw(app, '{"pid":1234,"waitMs":0}', headers, { signal: client.signal })
  const stopWaiting = signaller.calls[0]?.delivery.stopWaiting ?? []
  expect(stopWaiting.map(({ aborted }) => aborted)).toEqual([false, false])
  client.abort('client')
  server.abort('server')
  expect(stopWaiting.map(({ reason }) => reason)).toEqual(['client', 'server'])
})

describe('a surprise is 500: the cause goes to onError and never to the client', () => {
  const SECRET = 'a detail of the inside'
  test.each([
    Object.assign(new Error(SECRET), { code: 'EPERM', status: 403, getResponse: () => new Response(SECRET) }),
    new HTTPException(403, { message: SECRET, res: new Response(SECRET) }),
    SECRET,
    new Response(SECRET),
    null,
    undefined,
  ])('cause %#', async (cause) => {
    for (const outcome of [raise(cause), () => Promise.reject(cause)]) {
      const onError = vi.fn()
      const response = await post(createApp({ signaller: recordingSignaller(outcome), onError }), { pid: 1234 })
      expect(Array.from(response.headers)).toEqual([['content-type', 'application/json']])
      expect(await told(response)).toEqual(FAILED)
      expect(onError.mock.calls.map(([given]) => given === cause)).toEqual([true])
    }
  })

  const OUTCOMES = ['null', '{}', '{"code":"EINVAL"}', '{"code":"toString"}', '{"code":"__proto__"}', '"sent"']
  test.each(OUTCOMES)('the outcome %s', async (outcome) => {
    const onError = vi.fn()
    const app = createApp({ signaller: { terminate: () => JSON.parse(outcome) }, onError })
    expect(await told(post(app, { pid: 1234 }))).toEqual(FAILED)
    expect(onError.mock.calls).toEqual([[expect.any(TypeError), expect.anything()]])
  })

  test('by default it goes to console.error', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const app = createApp({ signaller: recordingSignaller(raise(SECRET)) })
    expect(await told(post(app, { pid: 1234 }))).toEqual(FAILED)
    expect(error.mock.calls).toEqual([[SECRET]])
  })
})

describe('killAttempt, the context variable,', () => {
  const error = new Error('kill EINVAL')
  const signaller: Signaller = {
    supports: ['waitMs', 'dryRun'],
    terminate: (pid) => (pid === 43 ? Promise.reject(error) : { code: 'EPERM', command: 'init' }),
  }
  let attempt: KillAttempt | undefined
  const host = new Hono()
    .use(async (c, next) => {
      await next()
      attempt = c.get('killAttempt')
    })
    .route('/', createApp({ signaller, onError: () => {}, maxWaits: 0 }))
    .get('/page', (c) => c.text('page'))

  // A request is a body, or another path.
  test.each<[request: string, attempt: KillAttempt | undefined]>([
    ['{"pid":" 0042 ","comment":"why"}', { pid: 42, comment: 'why', outcome: { code: 'EPERM', command: 'init' } }],
    ['{"pid":42,"dryRun":true,"instance":"x"}', { pid: 42, dryRun: true, outcome: { code: 'no instance' } }],
    ['{"pid":43,"dryRun":true,"comment":"why"}', { pid: 43, dryRun: true, comment: 'why', error }],
    ['{"pid":"2147483648"}', { pid: 2147483648, outcome: { code: 'ESRCH' } }],
    ['{"pid":2147483648,"instance":"x","waitMs":0}', { pid: 2147483648, outcome: { code: 'too many waits' } }],
    ['{"pid":" 12abc ","waitMs":0}', { pid: ' 12abc ', reason: 'pid' }],
    ['{"pid":{"a":[1]}}', { pid: { a: [1] }, reason: 'pid' }],
    ['[{"pid":1}]', { reason: 'pid' }],
    ['{"pid":" 42","waitMs":-1}', { pid: ' 42', reason: 'waitMs' }],
    ['{"pid":42,"Instance\\n":"x"}', { pid: 42, reason: 'unknown field', detail: '"Instance\\n"' }],
    ['', { reason: 'body' }],
    [' '.repeat(5000), { reason: 'size' }],
    [KILL, { reason: 'method' }],
    ['/page', undefined],
  ])('of %s is %j', async (request, expected) => {
    await (request.startsWith('/') ? host.request(request) : postRaw(host, request))
    expect(attempt).toEqual(expected)
  })
})

test.each([
  ['is called before the signaller returns, with what is then in killAttempt', vi.fn(), []],
  ['may fail, as the signal is out by then', vi.fn(raise('a failing record')), [['a failing record']]],
  ['may be missing', undefined, []],
])('onKillSignal, the context variable, %s', async (_what, listener, errors) => {
  using error = vi.spyOn(console, 'error').mockImplementation(() => {})
  const attempt = { pid: 1234, comment: 'why', outcome: { code: 'sent', command: 'sleep' } }
  const terminate: Signaller['terminate'] = (_pid, { onSignal }) => {
    onSignal({ code: 'sent', command: 'sleep' })
    if (listener) expect(listener).toHaveBeenCalledExactlyOnceWith(attempt, attempt)
    return { code: 'exited' }
  }
  const host = new Hono()
    .use((c, next) => {
      if (listener) c.set('onKillSignal', (attempt) => listener(attempt, c.get('killAttempt')))
      return next()
    })
    .route('/', createApp({ signaller: { supports: ['waitMs'], terminate } }))
  expect(await told(post(host, { pid: 1234, waitMs: 1, comment: 'why' }))).toEqual(EXITED)
  expect(error.mock.calls).toEqual(errors)
})

test.each([
  [{ maxWaits: 2 }, 2],
  [{}, 256],
])('with the limit %j, %i may wait at once. One more is 503, without a signal', async (options, count) => {
  const exits: (() => void)[] = []
  const outcome = () => new Promise<Outcome>((resolve) => exits.push(() => resolve({ code: 'exited' })))
  const app = createApp({ ...options, signaller: conditionalSignaller(outcome) })
  const wait = () => post(app, { pid: 1234, waitMs: 60_000 })
  // A request without waitMs does not count.
  const requests = [post(app, { pid: 1234 }), ...Array.from({ length: count }, wait)]
  await expect.poll(() => exits).toHaveLength(count + 1)
  expect(await told(wait())).toEqual(BUSY)
  expect(exits).toHaveLength(count + 1)
  for (const exit of exits) exit()
  for (const { status } of await Promise.all(requests)) expect(status).toBe(200)
})

test('maxWaits counts no wait that has ended or failed', async () => {
  const outcome = vi.fn<() => Outcome | Promise<Outcome>>(() => ({ code: 'exited' })).mockRejectedValueOnce('gone')
  const app = createApp({ signaller: conditionalSignaller(outcome), maxWaits: 1, onError: () => {} })
  for (const answer of [FAILED, EXITED, EXITED]) expect(await told(post(app, { pid: 1234, waitMs: 1 }))).toEqual(answer)
})

test.each(['', '/a/:b'])('mounted at "%s" it answers as ever; all else stays the host’s', async (base) => {
  const causes: unknown[] = []
  const signaller = recordingSignaller(raise('inside'))
  const host = new Hono()
    .use(async (c, next) => {
      await next()
      c.res.headers.append('x-host', 'yes')
    })
    .route(base, createApp({ signaller, onError: (cause) => causes.push(cause) }))
    .post(`${base}${KILL}/all`, async (c) => c.text(await c.req.text()))
    .get('/broken', raise(new HTTPException(400, { message: 'the host’s own' })))
    .notFound((c) => c.text('host: not found', 404))
    .onError((error, c) => c.text(`host: ${error.message}`, 500))
  const large = 'x'.repeat(5000)
  for (const [path, body, answer] of [
    [base + KILL, '{"pid":1234}', FAILED],
    [base + KILL, '{"pid":1234,"waitMs":0}', refusal(501, 'waitMs is not supported here', 'not supported')],
    [base + KILL, '{', refusal(400, 'Invalid pid', 'body')],
    [base + KILL, large, refusal(413, 'Payload Too Large', 'size')],
    [base + KILL, null, refusal(405, 'Method Not Allowed', 'method')],
    [`${base}${KILL}/all`, large, [200, large, null]],
    [`${base}${KILL}/`, large, [404, 'host: not found', null]],
    [`/elsewhere${KILL}`, large, [404, 'host: not found', null]],
    ['/broken', null, [500, 'host: the host’s own', null]],
  ] as const) {
    const response = await postRaw(host, body, {}, { path, ...(body === null && { method: 'GET' }) })
    const { headers, status } = response
    const given = [status, await response.text(), headers.get('psys-kill-reason'), headers.get('x-host')]
    expect(given, `${path} ${body}`).toEqual([...answer, 'yes'])
  }
  expect([signaller.pids, causes]).toEqual([[1234], ['inside']])
})
