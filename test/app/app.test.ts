import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { describe, expect, test, vi } from 'vitest'
import { type AppOptions, createApp, type KillAttempt, type Outcome, type Signaller } from '../../src/index.ts'
import { conditionalSignaller, KILL, post, postRaw, recordingSignaller, refusal, told } from '../support/post.ts'

const OK = [200, '{"ok":true}', null] as const
const EXITED = [200, '{"ok":true,"exited":true}', null] as const
const INVALID_PID = refusal(400, 'Invalid pid', 'pid')
const FAILED = [500, '{"error":"Failed to kill process"}', null] as const
const BUSY = refusal(503, 'Too many waits', 'too many waits')

/** An app in a host service whose own middleware comes first. */
const behind = (middleware: MiddlewareHandler, signaller: Signaller, options: Partial<AppOptions> = {}) =>
  new Hono().use(middleware).route('/', createApp({ ...options, signaller }))

/** A middleware that sets context variables. */
const setting =
  (set: (c: Context) => void): MiddlewareHandler =>
  (c, next) => {
    set(c)
    return next()
  }

const raise = (cause: unknown) => () => {
  throw cause
}

/** A signaller that says that the signal is out before it returns. */
const telling = (outcome: () => Outcome): Signaller => ({
  supports: ['waitMs'],
  terminate: (_pid, { onSignal }) => {
    onSignal({ code: 'sent', command: 'sleep' })
    return outcome()
  },
})

/** What the host sees of a request afterwards. The request is a body, or another path. */
const attemptOf = async (signaller: Signaller, body: string) => {
  let attempt: KillAttempt | undefined
  const note: MiddlewareHandler = async (c, next) => {
    await next()
    attempt = c.get('killAttempt')
  }
  const host = behind(note, signaller, { onError: () => {}, maxWaits: 0 }).get('/page', (c) => c.text('page'))
  await (body.startsWith('/') ? host.request(body) : postRaw(host, body))
  return attempt
}

test.each([{ 'content-length': '23' }, {}])('stopWaiting has the signals of client and server: %j', async (headers) => {
  const [client, server] = [new AbortController(), new AbortController()]
  const signaller = conditionalSignaller()
  const app = createApp({ signaller, stopping: server.signal })
  await postRaw(app, '{"pid":1234,"waitMs":0}', headers, { signal: client.signal })
  const aborted = () => signaller.calls[0]?.delivery.stopWaiting.map((signal) => signal.aborted)
  expect(aborted()).toEqual([false, false])
  client.abort()
  expect(aborted()).toEqual([true, false])
  server.abort()
  expect(aborted()).toEqual([true, true])
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
    for (const outcome of [raise(cause), () => Promise.reject(cause)])
      for (const fields of [{}, { waitMs: 0 }]) {
        const onError = vi.fn()
        const app = createApp({ signaller: conditionalSignaller(outcome), onError })
        const response = await post(app, { pid: 1234, ...fields })
        expect(Array.from(response.headers)).toEqual([['content-type', 'application/json']])
        expect(await told(response)).toEqual(FAILED)
        expect(onError).toHaveBeenCalledOnce()
        expect(onError.mock.calls[0]?.[0]).toBe(cause)
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
  test.each<[body: string, attempt: KillAttempt | undefined]>([
    ['{"pid":" 0042 "}', { pid: 42, outcome: { code: 'EPERM', command: 'init' } }],
    [
      '{"pid":42,"dryRun":true,"comment":"why"}',
      { pid: 42, dryRun: true, comment: 'why', outcome: { code: 'no dryRun' } },
    ],
    ['{"pid":"2147483648"}', { pid: 2147483648, outcome: { code: 'ESRCH' } }],
    ['{"pid":42,"waitMs":0}', { pid: 42, outcome: { code: 'too many waits' } }],
    ['{"pid":" 12abc "}', { pid: ' 12abc ', reason: 'pid' }],
    ['{"pid":{"a":[1]}}', { pid: { a: [1] }, reason: 'pid' }],
    ['[{"pid":1}]', { reason: 'pid' }],
    ['{"pid":" 42","waitMs":-1}', { pid: ' 42', reason: 'waitMs' }],
    ['{"pid":42,"Instance\\n":"x"}', { pid: 42, reason: 'unknown field', detail: '"Instance\\n"' }],
    ['', { reason: 'body' }],
    [' '.repeat(5000), { reason: 'size' }],
    [KILL, { reason: 'method' }],
    ['/page', undefined],
  ])('of %.50s is %j', async (body, attempt) => {
    const signaller = recordingSignaller(() => ({ code: 'EPERM', command: 'init' }))
    expect(await attemptOf(signaller, body)).toEqual(attempt)
  })

  test('has the cause of a 500, and what the request said of itself', async () => {
    const error = new Error('kill EINVAL')
    const failing = conditionalSignaller(() => Promise.reject(error))
    const attempt = await attemptOf(failing, '{"pid":42,"dryRun":true,"comment":"why"}')
    expect(attempt).toEqual({ pid: 42, dryRun: true, comment: 'why', error })
  })
})

describe('onKillSignal, the context variable,', () => {
  test('is called before the signaller returns, with what is then in killAttempt', async () => {
    const heard: unknown[] = []
    const listen = setting((c) => c.set('onKillSignal', (attempt) => heard.push(attempt, c.get('killAttempt'))))
    const signaller = telling(() => {
      const attempt = { pid: 1234, comment: 'why', outcome: { code: 'sent', command: 'sleep' } }
      expect(heard).toEqual([attempt, attempt])
      return { code: 'exited' }
    })
    expect(await told(post(behind(listen, signaller), { pid: 1234, waitMs: 1, comment: 'why' }))).toEqual(EXITED)
  })

  test('may fail, as the signal is out by then, or be missing', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const signaller = telling(() => ({ code: 'sent' }))
    expect(await told(post(createApp({ signaller }), { pid: 1234 }))).toEqual(OK)
    const set = setting((c) => c.set('onKillSignal', raise('a failing record')))
    expect(await told(post(behind(set, signaller), { pid: 1234 }))).toEqual(OK)
    expect(error.mock.calls).toEqual([['a failing record']])
  })
})

describe('maxWaits', () => {
  test.each([
    [{ maxWaits: 2 }, 2],
    [{}, 256],
  ])('with %j, %i may wait at once. One more is 503, without a signal', async (options, count) => {
    const exits: (() => void)[] = []
    const outcome = () => new Promise<Outcome>((resolve) => exits.push(() => resolve({ code: 'exited' })))
    const signaller = conditionalSignaller(outcome)
    const app = createApp({ ...options, signaller })
    const wait = () => post(app, { pid: 1234, waitMs: 60_000 })
    const waits = Array.from({ length: count }, wait)
    await expect.poll(() => exits).toHaveLength(count)
    expect(await told(wait())).toEqual(BUSY)
    exits[0]?.()
    expect((await waits[0])?.status).toBe(200)
    // Requests without waitMs do not count.
    const others = Array.from({ length: 3 }, () => post(app, { pid: 1234 }))
    await expect.poll(() => exits).toHaveLength(count + 3)
    waits.push(wait())
    await expect.poll(() => exits).toHaveLength(count + 4)
    expect(await told(wait())).toEqual(BUSY)
    expect(signaller.calls).toHaveLength(count + 1)
    for (const exit of exits) exit()
    for (const { status } of await Promise.all([...waits, ...others])) expect(status).toBe(200)
  })

  test('counts no wait that has failed', async () => {
    const signaller = conditionalSignaller(() => Promise.reject(new Error('gone')))
    const app = createApp({ signaller, maxWaits: 1, onError: () => {} })
    for (let i = 0; i < 3; i++) expect(await told(post(app, { pid: 1234, waitMs: 1 }))).toEqual(FAILED)
  })

  test('comes after the body and before the signaller, its PIDs and its conditions', async () => {
    const app = createApp({ signaller: recordingSignaller(), maxWaits: 0 })
    expect(await told(post(app, { pid: 2 ** 31, waitMs: 0 }))).toEqual(BUSY)
    expect(await told(post(app, { pid: 0, waitMs: 0 }))).toEqual(INVALID_PID)
  })
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
  for (const [path, method, body, answer] of [
    [base + KILL, 'POST', '{"pid":1234}', FAILED],
    [base + KILL, 'POST', '{"pid":1234,"waitMs":0}', refusal(501, 'waitMs is not supported here', 'not supported')],
    [base + KILL, 'POST', '{', refusal(400, 'Invalid pid', 'body')],
    [base + KILL, 'POST', large, refusal(413, 'Payload Too Large', 'size')],
    [base + KILL, 'GET', undefined, refusal(405, 'Method Not Allowed', 'method')],
    [`${base}${KILL}/all`, 'POST', large, [200, large, null]],
    [`${base}${KILL}/`, 'POST', large, [404, 'host: not found', null]],
    [`/elsewhere${KILL}`, 'POST', large, [404, 'host: not found', null]],
    ['/broken', 'GET', undefined, [500, 'host: the host’s own', null]],
  ] as const) {
    const headers = { 'content-type': 'application/json' }
    const response = await host.request(path, { method, headers, ...(body !== undefined && { body }) })
    const [status, text, reason] = answer
    expect([response.status, await response.text()]).toEqual([status, text])
    expect(response.headers.get('psys-kill-reason')).toBe(reason)
    expect(response.headers.get('x-host')).toBe('yes')
  }
  expect([signaller.pids, causes]).toEqual([[1234], ['inside']])
})
