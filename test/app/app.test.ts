import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { describe, expect, test, vi } from 'vitest'
import {
  type AppOptions,
  createApp,
  KILL_PATH,
  type KillAttempt,
  type Outcome,
  type Signaller,
} from '../../src/index.ts'
import { conditionalSignaller, KILL, post, postRaw, recordingSignaller, refusal, told } from '../support/post.ts'

const OK = [200, '{"ok":true}', null] as const
const EXITED = [200, '{"ok":true,"exited":true}', null] as const
const INVALID_PID = refusal(400, 'Invalid pid', 'pid')
const BAD_METHOD = refusal(405, 'Method Not Allowed', 'method')
const FAILED = [500, '{"error":"Failed to kill process"}', null] as const
const BUSY = refusal(503, 'Too many waits', 'too many waits')
const unable = (field: string) => refusal(501, `${field} is not supported here`, 'not supported')

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

test('the path is the one of psys', () => expect(KILL_PATH).toBe('/api/connections/kill'))

test('a query makes no difference', async () => {
  const signaller = recordingSignaller()
  const app = createApp({ signaller })
  expect(await told(postRaw(app, '{"pid":1234}', {}, { path: `${KILL}?pid=1&waitMs=x` }))).toEqual(OK)
  expect(await told(postRaw(app, '{}', {}, { path: `${KILL}?pid=1` }))).toEqual(INVALID_PID)
  expect(signaller.pids).toEqual([1234])
})

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
    new Error(SECRET),
    Object.assign(new Error(SECRET), { code: 'EPERM', status: 403, getResponse: () => new Response(SECRET) }),
    new HTTPException(403, { message: SECRET, res: new Response(SECRET) }),
    SECRET,
    { code: 'ESRCH', message: SECRET },
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
        expect(onError.mock.calls).toEqual([[cause, expect.anything()]])
        expect(onError.mock.calls[0]?.[0]).toBe(cause)
      }
  })

  test.each(['null', '{}', '{"code":"EINVAL"}', '{"code":"toString"}', '{"code":"__proto__"}', '"sent"'])(
    'the outcome %s',
    async (outcome) => {
      const onError = vi.fn()
      const app = createApp({ signaller: { terminate: () => JSON.parse(outcome) }, onError })
      expect(await told(post(app, { pid: 1234 }))).toEqual(FAILED)
      expect(onError.mock.calls).toEqual([[expect.any(TypeError), expect.anything()]])
    },
  )

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
    ['{"pid":42,"comment":"why"}', { pid: 42, comment: 'why', outcome: { code: 'EPERM', command: 'init' } }],
    [
      '{"pid":42,"dryRun":true,"comment":"why"}',
      { pid: 42, dryRun: true, comment: 'why', outcome: { code: 'no dryRun' } },
    ],
    ['{"pid":"2147483648"}', { pid: 2147483648, outcome: { code: 'ESRCH' } }],
    ['{"pid":42,"waitMs":0}', { pid: 42, outcome: { code: 'too many waits' } }],
    ...['" 12abc "', '-1', '1.5', 'null', '[5]', '{"a":[1]}', '9007199254740992'].map((pid): [string, KillAttempt] => {
      return [`{"pid":${pid}}`, { pid: JSON.parse(pid), reason: 'pid' }]
    }),
    ...['{}', 'null', '"pid"', '[{"pid":1}]'].map((body): [string, KillAttempt] => [body, { reason: 'pid' }]),
    ['{"pid":" 42","waitMs":-1}', { pid: ' 42', reason: 'waitMs' }],
    ['{"pid":42,"instance":"","comment":"x"}', { pid: 42, reason: 'instance' }],
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
    const body = '{"pid":42,"dryRun":true,"comment":"why"}'
    const attempt = { pid: 42, dryRun: true, comment: 'why', error }
    const failing = conditionalSignaller(() => Promise.reject(error))
    expect(await attemptOf(failing, body)).toEqual(attempt)
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
    expect(error).not.toHaveBeenCalled()
    const set = setting((c) => c.set('onKillSignal', raise('a failing record')))
    expect(await told(post(behind(set, signaller), { pid: 1234 }))).toEqual(OK)
    expect(error.mock.calls).toEqual([['a failing record']])
  })
})

describe('maxWaits', () => {
  /** A signaller whose answers the test gives. */
  const held = () => {
    const exits: (() => void)[] = []
    const outcome = () => new Promise<Outcome>((resolve) => exits.push(() => resolve({ code: 'exited' })))
    return { exits, signaller: conditionalSignaller(outcome) }
  }

  test('is how many may wait at once. One more is 503, without a signal', async () => {
    const { exits, signaller } = held()
    const app = createApp({ signaller, maxWaits: 2 })
    const wait = () => post(app, { pid: 1234, waitMs: 60_000 })
    const [first, second] = [wait(), wait()]
    await expect.poll(() => exits).toHaveLength(2)
    expect(await told(wait())).toEqual(BUSY)
    exits[0]?.()
    expect(await told(first)).toEqual(EXITED)
    const third = wait()
    await expect.poll(() => exits).toHaveLength(3)
    expect(await told(wait())).toEqual(BUSY)
    expect(signaller.calls).toHaveLength(3)
    for (const exit of exits) exit()
    for (const answer of [second, third]) expect(await told(answer)).toEqual(EXITED)
  })

  test('is 256 by default, and does not count requests without waitMs', async () => {
    const { exits, signaller } = held()
    const app = createApp({ signaller })
    const others = Array.from({ length: 300 }, () => post(app, { pid: 1234 }))
    const waits = Array.from({ length: 256 }, () => post(app, { pid: 1234, waitMs: 1 }))
    await expect.poll(() => exits).toHaveLength(556)
    expect(await told(post(app, { pid: 1234, waitMs: 1 }))).toEqual(BUSY)
    for (const exit of exits) exit()
    for (const { status } of await Promise.all([...others, ...waits])) expect(status).toBe(200)
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

describe.each(['/', '/base', '/a/:b'])('mounted at %s of a host service', (base) => {
  const at = (path: string) => `${base === '/' ? '' : base}${path}`

  const startHost = (signaller: Signaller) => {
    const causes: unknown[] = []
    const host = new Hono()
      .use(async (c, next) => {
        await next()
        c.res.headers.append('x-host', 'yes')
      })
      .get('/before', (c) => c.text('before'))
      .route(base, createApp({ signaller, onError: (cause) => causes.push(cause) }))
      .post(at(`${KILL}/all`), async (c) => c.text(await c.req.text()))
      .get('/broken', raise(new HTTPException(400, { message: 'the host’s own' })))
      .notFound((c) => c.text('host: not found', 404))
      .onError((error, c) => c.text(`host: ${error.message}`, 500))
    return { host, causes }
  }

  test('it answers as ever, behind the host’s middleware', async () => {
    const signaller = recordingSignaller()
    const { host, causes } = startHost(signaller)
    for (const [body, answer] of [
      ['{"pid":1234}', OK],
      ['{"pid":1234,"waitMs":0}', unable('waitMs')],
      ['{', refusal(400, 'Invalid pid', 'body')],
      [' '.repeat(5000), refusal(413, 'Payload Too Large', 'size')],
    ] as const) {
      const response = await postRaw(host, body, {}, { path: at(KILL) })
      expect(response.headers.get('x-host')).toBe('yes')
      expect(await told(response)).toEqual(answer)
    }
    expect(await told(host.request(at(KILL)))).toEqual(BAD_METHOD)
    expect(signaller.pids).toEqual([1234])
    expect(causes).toEqual([])
  })

  test('its errors are its own; other routes, the 404 and the errors stay the host’s', async () => {
    const { host, causes } = startHost(recordingSignaller(raise('inside')))
    expect(await told(postRaw(host, '{"pid":1234}', {}, { path: at(KILL) }))).toEqual(FAILED)
    const large = { method: 'POST', body: 'x'.repeat(10_000) }
    for (const [path, init, answer] of [
      ['/before', {}, [200, 'before']],
      [at(`${KILL}/all`), large, [200, large.body]],
      [at(`${KILL}/`), large, [404, 'host: not found']],
      [`/elsewhere${KILL}`, large, [404, 'host: not found']],
      ['/broken', {}, [500, 'host: the host’s own']],
    ] as const) {
      const response = await host.request(path, init)
      expect([response.status, await response.text()]).toEqual(answer)
    }
    expect(causes).toEqual(['inside'])
  })
})
