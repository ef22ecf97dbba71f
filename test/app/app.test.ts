import { type Context, Hono, type MiddlewareHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { describe, expect, test, vi } from 'vitest'
import { killRequest } from '../../src/app/kill-request.ts'
import {
  type AppOptions,
  createApp,
  type Delivery,
  KILL_PATH,
  type KillAttempt,
  type Outcome,
  type Signaller,
} from '../../src/index.ts'
import { json, KILL, post, postRaw, read } from '../support/post.ts'
import { conditionalSignaller, recordingSignaller } from '../support/recording-signaller.ts'

const OK = json(200, '{"ok":true}')
const INVALID_PID = json(400, '{"error":"Invalid pid"}')
const INVALID_STARTED_BEFORE = json(400, '{"error":"Invalid startedBefore"}')
const INVALID_WAIT_MS = json(400, '{"error":"Invalid waitMs"}')
const UNKNOWN_FIELD = json(400, '{"error":"Unknown field"}')
const NOT_FOUND = json(404, '{"error":"Process not found"}')
const FAILED = json(500, '{"error":"Failed to kill process"}')
const NO_STARTED_BEFORE = json(501, '{"error":"startedBefore is not supported here"}')
const INVALID_DRY_RUN = json(400, '{"error":"Invalid dryRun"}')
const INVALID_COMMAND = json(400, '{"error":"Invalid command"}')
const INVALID_COMMENT = json(400, '{"error":"Invalid comment"}')
const NO_DRY_RUN = json(501, '{"error":"dryRun is not supported here"}')
const NO_COMMAND = json(501, '{"error":"command is not supported here"}')
const NO_WAIT_MS = json(501, '{"error":"waitMs is not supported here"}')

const TIME = '2026-11-24T08:00:00Z'

/** Asks with a body that must get an answer, and reach no signaller. */
const expectUnsignalled = async (body: BodyInit | null, answer: ReturnType<typeof json>, headers = {}) => {
  const signaller = conditionalSignaller()
  expect(await read(postRaw(createApp({ signaller }), body, headers))).toEqual(answer)
  expect(signaller).toMatchObject({ pids: [], calls: [] })
}

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

/** A middleware that notes what became of each request. */
const noting =
  (attempts: (KillAttempt | undefined)[]): MiddlewareHandler =>
  async (c, next) => {
    await next()
    attempts.push(c.get('killAttempt'))
  }

/** What an untyped signaller might return. */
const untyped = (text: string): Outcome => JSON.parse(text)

test('the path is the one of psys', () => {
  expect(KILL_PATH).toBe('/api/connections/kill')
})

describe('each outcome has one answer', () => {
  test.each<[Outcome['code'], ReturnType<typeof json>]>([
    ['sent', OK],
    ['exited', json(200, '{"ok":true,"exited":true}')],
    ['running', json(200, '{"ok":true,"exited":false}')],
    ['would send', json(200, '{"ok":true,"dryRun":true}')],
    ['EPERM', json(403, '{"error":"Permission denied"}')],
    ['ESRCH', NOT_FOUND],
    ['no startedBefore', NO_STARTED_BEFORE],
    ['no waitMs', NO_WAIT_MS],
    ['no dryRun', NO_DRY_RUN],
    ['no command', NO_COMMAND],
    ['too many waits', json(503, '{"error":"Too many waits"}')],
  ])('%s', async (code, answer) => {
    const command = 'the name of the process stays inside'
    const now = createApp({ signaller: recordingSignaller(() => ({ code, command })) })
    expect(await read(post(now, { pid: 1234 }))).toEqual(answer)
    const later = createApp({ signaller: conditionalSignaller(async () => ({ code, command })) })
    expect(await read(post(later, { pid: 1234, waitMs: 0 }))).toEqual(answer)
  })
})

test('a dry run tells of the process what the signaller does', async () => {
  const seen = { command: 'node', uid: 1000, startedAt: '2026-11-24T08:00:00.120Z' }
  for (const process of [seen, { command: 'node' }, undefined]) {
    const signaller = conditionalSignaller(() => ({ code: 'would send', command: 'inside', process }))
    const answer = json(200, JSON.stringify({ ok: true, dryRun: true, process }))
    expect(await read(post(createApp({ signaller }), { pid: 1234, dryRun: true }))).toEqual(answer)
  }
})

describe('what denotes a PID', () => {
  test.each([
    ['{"pid":1}', 1],
    ['{"pid":1234}', 1234],
    ['{"pid":1234.0}', 1234],
    ['{"pid":1e3}', 1000],
    ['{"pid":12340E-1}', 1234],
    ['{"pid":2147483647}', 2147483647],
    ['{"pid":"1234"}', 1234],
    ['{"pid":"0042"}', 42],
    ['{"pid":" 1234 "}', 1234],
    ['{"pid":"\\t\\r\\n\\u000b\\f1234\\n"}', 1234],
    ['{"pid":"\\u00a0\\u2028\\u3000\\ufeff1234"}', 1234],
    [`{"pid":"${'0'.repeat(400)}1234"}`, 1234],
    ['{"pid":"2147483647"}', 2147483647],
    ['\n {"pid" :\t1234 }\r\n', 1234],
    ['\ufeff{"pid":1234}', 1234],
    ['{"pid":1,"pid":1234}', 1234],
    ['{"\\u0070id":1234}', 1234],
  ])('%s', async (body, pid) => {
    const signaller = recordingSignaller()
    expect(await read(postRaw(createApp({ signaller }), body))).toEqual(OK)
    expect(signaller.pids).toEqual([pid])
  })
})

describe('a PID that no process can have is 404, and no signaller sees it', () => {
  test.each(['2147483648', '4294967295', '4294967296', '4294967297', '1e15', '9007199254740991'])(
    '%s',
    async (digits) => {
      for (const pid of [digits, JSON.stringify(String(Number(digits)))]) {
        await expectUnsignalled(`{"pid":${pid}}`, NOT_FOUND)
        await expectUnsignalled(`{"pid":${pid},"waitMs":0,"startedBefore":"${TIME}"}`, NOT_FOUND)
      }
    },
  )
})

describe('a field that is not known is refused, and no signal is sent', () => {
  test.each([
    '"startedbefore":"2000-01-01T00:00:00Z"',
    '"started_before":"2000-01-01T00:00:00Z"',
    '"startedBefore ":"2000-01-01T00:00:00Z"',
    '"waitms":0',
    '"dryrun":true',
    '"dry_run":true',
    '"comm":"node"',
    '"Comment":""',
    '"signal":"SIGKILL"',
    '"force":true',
    '"PID":1',
    '"pids":[1]',
    '"":null',
    '"__proto__":{"pid":1}',
    '"constructor":1',
    '"toString":null',
  ])('%s', async (field) => {
    for (const signaller of [recordingSignaller(), conditionalSignaller()]) {
      const app = createApp({ signaller })
      expect(await read(postRaw(app, `{"pid":1234,${field}}`))).toEqual(UNKNOWN_FIELD)
      expect(await read(postRaw(app, `{${field},"pid":2147483648}`))).toEqual(UNKNOWN_FIELD)
      expect(await read(postRaw(app, `{${field},"pid":0}`))).toEqual(INVALID_PID)
      expect(await read(postRaw(app, `{${field},"pid":1234,"waitMs":-1}`))).toEqual(INVALID_WAIT_MS)
      expect(signaller.pids).toEqual([])
    }
  })
})

describe('what does not denote a PID', () => {
  const numbers = ['0', '-0', '-1', '-1234', '1.5', '0.1', '1234.0000001', '5e-324', '1e400', '-1e400', '1e16']
  const unsafe = ['9007199254740992', '9007199254740993', '"9007199254740992"', '"9007199254740993"', '2e308']
  const halfParsed = ['12abc', 'abc', '1e3', '0x10', '0b11', '0o7', '1.9', '12.', '12.0', '+5', '-5', '0', '00', '-0']
  const odd = ['', ' ', '1 2', '1,2', '1_000', '12n', 'NaN', 'Infinity', 'null', 'true', '\u0000', '12\u0000', '1\n2']
  const otherDigits = ['١٢', '１２', '²', '五', 'Ⅷ', '\u200b12', '12\u200b', '\u180e12', '9'.repeat(400)]
  const strings = [...halfParsed, ...odd, ...otherDigits].map((text) => JSON.stringify(text))
  const types = ['null', 'true', 'false', '[]', '[5]', '["5"]', '[[5]]', '{}', '{"pid":5}', '{"valueOf":5}']

  test.each([...numbers, ...unsafe, ...strings, ...types])('%s', async (pid) => {
    await expectUnsignalled(`{"pid":${pid}}`, INVALID_PID)
    await expectUnsignalled(`{"pid":1234,"pid":${pid},"waitMs":0}`, INVALID_PID)
  })
})

describe('a body without a PID, or that is not JSON', () => {
  test.each([
    ...['{}', '{"PID":1234}', '{"pid ":1234}', '{"__proto__":{"pid":1234}}', '{"a":{"pid":1234}}'],
    ...['1234', '"1234"', 'null', 'true', '""', '[]', '[1234]', '["pid",1234]', '[{"pid":1234}]', '[['.repeat(2000)],
    ...['', ' ', '\n', '{', '}', '{"pid"', '{"pid":', '{"pid":1234', '{"pid":1234}}', '{"pid":1234}{"pid":1}'],
    ...['pid=1234', 'pid', '{pid:1234}', "{'pid':1234}", '{"pid":1234,}', '{"pid":1234}//', '/**/{"pid":1234}'],
    ...['{"pid":01234}', '{"pid":+1}', '{"pid":.5}', '{"pid":5.}', '{"pid":NaN}', '{"pid":Infinity}', '{"pid":0x10}'],
    ...['{"pid":1234n}', '{"pid":1_000}', '{"pid":undefined}', 'undefined', '{"pid":"12', '{"pid":"\n12"}', '\u0000'],
    ...['{"pid":1234}\u0000', '\u00a0{"pid":1234}', ')]}\'\n{"pid":1234}', '<pid>1234</pid>'],
  ])('%j', (body) => expectUnsignalled(body, INVALID_PID))

  test('no body at all', () => expectUnsignalled(null, INVALID_PID))
})

describe('bytes that are not UTF-8', () => {
  const latin1 = (text: string) => Uint8Array.from(text, (char) => char.charCodeAt(0))
  const utf16 = (text: string) => new Uint8Array(Uint16Array.from(text, (char) => char.charCodeAt(0)).buffer)

  test.each([
    ['in the PID', latin1('{"pid":"12\xff"}'), INVALID_PID],
    ['cut off in the PID', latin1('{"pid":"12\xe2\x82"}'), INVALID_PID],
    ['around the PID', latin1('{"pid":\xa01234}'), INVALID_PID],
    ['an overlong quote', latin1('{\xc0\xa2pid":1234}'), INVALID_PID],
    ['UTF-16', utf16('{"pid":1234}'), INVALID_PID],
    ['UTF-16 with a BOM', utf16('\ufeff{"pid":1234}'), INVALID_PID],
    ['in another field', latin1('{"pid":1234,"x":"\xff"}'), UNKNOWN_FIELD],
  ])('%s', (_name, body, answer) => expectUnsignalled(body, answer))
})

describe('the content type decides whether a body was sent as JSON', () => {
  const JSON_TYPES = [
    'application/json',
    'application/json;charset=utf-8',
    'application/json ; x=y',
    'Application/JSON',
  ]
  const SIMPLE = ['text/plain', 'text/plain;charset=UTF-8', 'application/x-www-form-urlencoded', 'multipart/form-data']
  const ALIKE = [
    'text/json',
    'application/jsonp',
    'application/json5',
    'application/json-seq',
    'xapplication/json',
    'json',
  ]
  const LISTS = [
    'text/plain, application/json',
    'application/json, text/plain',
    'text/plain;application/json',
    ';',
    ' ',
  ]

  test.each(JSON_TYPES)('%s is JSON', async (type) => {
    const signaller = recordingSignaller()
    expect(await read(postRaw(createApp({ signaller }), '{"pid":1234}', { 'content-type': type }))).toEqual(OK)
    expect(signaller.pids).toEqual([1234])
  })

  test.each([...SIMPLE, ...ALIKE, ...LISTS])('%j is not', (type) =>
    expectUnsignalled('{"pid":1234}', INVALID_PID, { 'content-type': type }),
  )

  test('none is not', () =>
    expectUnsignalled(new TextEncoder().encode('{"pid":1234}'), INVALID_PID, { 'content-type': undefined }))
})

describe('a method other than POST is 405 and names POST', () => {
  const METHODS = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'PATCH', 'DELETE', 'QUERY', 'PROPFIND', 'patch', 'POSTS', 'FOO-BAR']
  // These a Request refuses to have, but a server may well receive.
  const FORBIDDEN = ['TRACE', 'CONNECT', 'TRACK', 'post', 'constructor', '__proto__']

  test.each([...METHODS, ...FORBIDDEN])('%s', async (method) => {
    const signaller = recordingSignaller()
    const request = new Request(`http://localhost${KILL}`, { headers: { 'content-type': 'application/json' } })
    const response = await createApp({ signaller }).fetch(Object.defineProperty(request, 'method', { value: method }))
    expect(response.headers.get('allow')).toBe('POST')
    expect(await read(response)).toEqual(json(405, method === 'HEAD' ? '' : '{"error":"Method Not Allowed"}'))
    expect(signaller.pids).toEqual([])
  })

  test('with a body too', async () => {
    const signaller = recordingSignaller()
    const response = postRaw(createApp({ signaller }), '{"pid":1234}', {}, { method: 'PUT' })
    expect(await read(response)).toEqual(json(405, '{"error":"Method Not Allowed"}'))
    expect(signaller.pids).toEqual([])
  })
})

describe('a query makes no difference', () => {
  test('and does not say what to kill', async () => {
    const signaller = recordingSignaller()
    const app = createApp({ signaller })
    expect(await read(postRaw(app, '{"pid":1234}', {}, { path: `${KILL}?pid=1&waitMs=x` }))).toEqual(OK)
    expect(await read(postRaw(app, '{}', {}, { path: `${KILL}?pid=1` }))).toEqual(INVALID_PID)
    expect(signaller.pids).toEqual([1234])
  })
})

describe('a surprise is 500: the cause goes to onError and never to the client', () => {
  const SECRET = 'a detail of the inside'
  const causes = [
    new Error(SECRET),
    Object.assign(new Error(SECRET), { code: 'EPERM', status: 403, getResponse: () => new Response(SECRET) }),
    new HTTPException(403, { message: SECRET, res: new Response(SECRET) }),
    SECRET,
    { code: 'ESRCH', message: SECRET },
    new Response(SECRET),
    null,
    undefined,
  ]
  const raise = (cause: unknown) => () => {
    throw cause
  }

  for (const [index, cause] of causes.entries()) {
    test.each([
      ['thrown', recordingSignaller(raise(cause)), { pid: 1234 }],
      ['rejected', recordingSignaller(() => Promise.reject(cause)), { pid: 1234 }],
      ['thrown under conditions', conditionalSignaller(raise(cause)), { pid: 1234, waitMs: 0 }],
      ['rejected under conditions', conditionalSignaller(() => Promise.reject(cause)), { pid: 1234, waitMs: 0 }],
    ])(`cause ${index} %s`, async (_how, signaller, body) => {
      const onError = vi.fn()
      const response = await post(createApp({ signaller, onError }), body)
      expect(Array.from(response.headers)).toEqual([['content-type', 'application/json']])
      expect(await read(response)).toEqual(FAILED)
      expect(onError.mock.calls).toEqual([[cause, expect.anything()]])
      expect(onError.mock.calls[0]?.[0]).toBe(cause)
    })
  }

  test.each([
    'null',
    '{}',
    '{"code":"EINVAL"}',
    '{"code":null}',
    '{"code":"toString"}',
    '{"code":"__proto__"}',
    '"sent"',
  ])('the outcome %s', async (outcome) => {
    const onError = vi.fn()
    const app = createApp({ signaller: recordingSignaller(() => untyped(outcome)), onError })
    expect(await read(post(app, { pid: 1234 }))).toEqual(FAILED)
    expect(onError.mock.calls).toEqual([[expect.any(TypeError), expect.anything()]])
  })

  test('an error of the validation', async () => {
    using run = vi.spyOn(killRequest._zod, 'run').mockReturnValue(new Promise(() => {}))
    const onError = vi.fn()
    const signaller = recordingSignaller()
    expect(await read(post(createApp({ signaller, onError }), { pid: 1234 }))).toEqual(FAILED)
    expect(run).toHaveBeenCalledOnce()
    expect(onError.mock.calls).toEqual([[new TypeError('The schema must be synchronous'), expect.anything()]])
    expect(signaller.pids).toEqual([])
  })

  test('but for one of the record, as the signal is out by then', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const cause = new Error(SECRET)
    const signaller: Signaller = {
      terminate: (_pid, { onSignal }) => {
        onSignal({ code: 'sent' })
        return { code: 'sent' }
      },
    }
    const host = behind(
      setting((c) => c.set('onKillSignal', raise(cause))),
      signaller,
    )
    expect(await read(post(host, { pid: 1234 }))).toEqual(OK)
    expect(error.mock.calls).toEqual([[cause]])
  })

  test('by default it goes to console.error', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const cause = new Error(SECRET)
    expect(await read(post(createApp({ signaller: recordingSignaller(raise(cause)) }), { pid: 1234 }))).toEqual(FAILED)
    expect(error.mock.calls).toEqual([[cause]])
  })

  test('by default it goes nowhere else where it is on record', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const failing = recordingSignaller(raise(new Error(SECRET)))
    const host = behind(
      setting((c) => c.set('killOnRecord', true)),
      failing,
    )
    expect(await read(post(host, { pid: 1234 }))).toEqual(FAILED)
    expect(error).not.toHaveBeenCalled()
  })

  test('a host that listens for signals alone still gets it in console.error', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const failing = recordingSignaller(raise(new Error(SECRET)))
    const host = behind(
      setting((c) => c.set('onKillSignal', () => {})),
      failing,
    )
    expect(await read(post(host, { pid: 1234 }))).toEqual(FAILED)
    expect(error).toHaveBeenCalledOnce()
  })

  test('what is expected is no error', async () => {
    const onError = vi.fn()
    const app = createApp({ signaller: recordingSignaller(() => ({ code: 'ESRCH' })), onError })
    await post(app, { pid: 1234 })
    await post(app, { pid: 'x' })
    await postRaw(app, '{')
    await postRaw(app, ' '.repeat(5000))
    await app.request(KILL)
    expect(onError).not.toHaveBeenCalled()
  })
})

describe('killAttempt, the context variable,', () => {
  const attemptsOf = async (signaller: Signaller, ...bodies: string[]) => {
    const attempts: (KillAttempt | undefined)[] = []
    const host = behind(noting(attempts), signaller, { onError: () => {} }).get('/page', (c) => c.text('page'))
    for (const body of bodies) await (body === 'GET' ? host.request('/page') : postRaw(host, body))
    return attempts
  }

  test('has the PID as a number, and the outcome as the signaller told it', async () => {
    const outcome: Outcome = { code: 'EPERM', command: 'init' }
    const signaller = conditionalSignaller(() => outcome)
    expect(await attemptsOf(signaller, '{"pid":" 0042 "}', '{"pid":42,"waitMs":0}')).toEqual([
      { pid: 42, outcome },
      { pid: 42, outcome },
    ])
  })

  test('has the outcome that the app decides itself', async () => {
    const attempts = await attemptsOf(recordingSignaller(), '{"pid":"2147483648"}', '{"pid":1234,"waitMs":0}')
    expect(attempts).toEqual([
      { pid: 2147483648, outcome: { code: 'ESRCH' } },
      { pid: 1234, outcome: { code: 'no waitMs' } },
    ])
  })

  test('has what a valid request says of itself, whatever comes of it', async () => {
    const fields = '"dryRun":true,"comment":"why"'
    const said = { pid: 42, dryRun: true, comment: 'why' }
    const cause = new Error('kill EINVAL')
    const failing = conditionalSignaller(() => Promise.reject(cause))
    const denied = conditionalSignaller(() => ({ code: 'EPERM' }))
    expect(await attemptsOf(denied, `{"pid":42,${fields}}`)).toEqual([{ ...said, outcome: { code: 'EPERM' } }])
    expect(await attemptsOf(failing, `{"pid":42,${fields}}`)).toEqual([{ ...said, error: cause }])
    expect(await attemptsOf(recordingSignaller(), `{"pid":42,${fields}}`, `{"pid":42,${fields},"x":1}`)).toEqual([
      { ...said, outcome: { code: 'no dryRun' } },
      { pid: 42, reason: 'field "x"' },
    ])
  })

  test('has the cause of a 500', async () => {
    const cause = new Error('kill EINVAL')
    const failing = recordingSignaller(() => Promise.reject(cause))
    expect(await attemptsOf(failing, '{"pid":42}')).toEqual([{ pid: 42, error: cause }])
  })

  test('has the PID of a refused request as it came in, and the reason', async () => {
    const raw = ['" 12abc "', '-1', '0', '1.5', 'null', 'true', '[5]', '{"a":[1]}', '9007199254740992']
    const attempts = await attemptsOf(recordingSignaller(), ...raw.map((pid) => `{"pid":${pid}}`))
    expect(attempts).toEqual(raw.map((pid) => ({ pid: JSON.parse(pid), reason: 'pid' })))
  })

  test.each([
    ['{"pid":" 42","waitMs":-1}', { pid: ' 42', reason: 'waitMs' }],
    ['{"pid":42,"startedBefore":"x"}', { pid: 42, reason: 'startedBefore' }],
    ['{"pid":42,"startedbefore":"x"}', { pid: 42, reason: 'field "startedbefore"' }],
    ['{}', { reason: 'pid' }],
    ['null', { reason: 'pid' }],
    ['"pid"', { reason: 'pid' }],
    ['[{"pid":1}]', { reason: 'pid' }],
    ['', { reason: 'body' }],
    ['{', { reason: 'body' }],
    [' '.repeat(5000), { reason: 'size' }],
  ])('of %.40j is %j', async (body, attempt) => {
    expect(await attemptsOf(recordingSignaller(), body)).toEqual([attempt])
  })

  test('has the reason content-type where the body was not sent as JSON, and method where it was no POST', async () => {
    const attempts: (KillAttempt | undefined)[] = []
    const host = behind(noting(attempts), recordingSignaller())
    for (const type of ['text/plain', 'xapplication/json', ''])
      await postRaw(host, '{"pid":1}', { 'content-type': type })
    for (const type of ['application/json', 'Application/JSON ;x', 'application/merge-patch+json'])
      await postRaw(host, '{}', { 'content-type': type })
    await host.request(KILL)
    const reasons = ['content-type', 'content-type', 'content-type', 'pid', 'pid', 'pid', 'method']
    expect(attempts.map((attempt) => attempt?.reason)).toEqual(reasons)
  })

  test('is undefined on every other route', async () => {
    expect(await attemptsOf(recordingSignaller(), 'GET')).toEqual([undefined])
  })
})

describe('onKillSignal, the context variable,', () => {
  test('is called when the signaller says so, before it returns', async () => {
    let resolve = (_outcome: Outcome) => {}
    let hear = (_attempt: KillAttempt) => {}
    const exit = new Promise<Outcome>((settle) => {
      resolve = settle
    })
    const heard = new Promise<KillAttempt>((settle) => {
      hear = settle
    })
    const signaller: Signaller = {
      supports: ['waitMs'],
      terminate: (_pid, { onSignal }) => {
        onSignal({ code: 'sent', command: 'sleep' })
        return exit
      },
    }
    const host = behind(
      setting((c) => c.set('onKillSignal', hear)),
      signaller,
    )
    const answer = read(post(host, { pid: 1234, waitMs: 60_000 }))
    expect(await heard).toEqual({ pid: 1234, outcome: { code: 'sent', command: 'sleep' } })
    resolve({ code: 'exited' })
    expect(await answer).toEqual(json(200, '{"ok":true,"exited":true}'))
  })

  test('may be missing', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const signaller: Signaller = {
      terminate: (_pid, { onSignal }) => {
        onSignal({ code: 'sent' })
        return { code: 'sent' }
      },
    }
    expect(await read(post(createApp({ signaller }), { pid: 1234 }))).toEqual(OK)
    expect(error).not.toHaveBeenCalled()
  })

  test('finds in killAttempt what it is called with', async () => {
    const seen: unknown[] = []
    const signaller: Signaller = {
      terminate: (_pid, { onSignal }) => {
        onSignal({ code: 'sent' })
        return { code: 'ESRCH' }
      },
    }
    const host = behind(
      setting((c) => c.set('onKillSignal', (attempt) => seen.push(attempt, c.get('killAttempt')))),
      signaller,
    )
    await post(host, { pid: 1234 })
    const attempt = { pid: 1234, outcome: { code: 'sent' } }
    expect(seen).toEqual([attempt, attempt])
  })
})

describe('maxWaits', () => {
  const BUSY = json(503, '{"error":"Too many waits"}')

  test('is how many may wait at once; one more is 503, unsignalled, and a request without waitMs is not counted', async () => {
    const exits: (() => void)[] = []
    const signaller = conditionalSignaller(
      () => new Promise((resolve) => exits.push(() => resolve({ code: 'exited' }))),
    )
    const plain = recordingSignaller()
    const terminate = (pid: number, delivery: Delivery) =>
      (delivery.waitMs === undefined ? plain : signaller).terminate(pid, delivery)
    const app = createApp({ signaller: { ...signaller, terminate }, maxWaits: 2 })
    const wait = () => post(app, { pid: 1234, waitMs: 60_000 })
    const [first, second] = [wait(), wait()]
    await expect.poll(() => exits).toHaveLength(2)
    const refused = await wait()
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(await read(refused)).toEqual(BUSY)
    expect(signaller.calls).toHaveLength(2)
    expect(await read(post(app, { pid: 1234 }))).toEqual(OK)
    exits[0]?.()
    expect(await read(first)).toEqual(json(200, '{"ok":true,"exited":true}'))
    const third = wait()
    await expect.poll(() => exits).toHaveLength(3)
    expect(await read(wait())).toEqual(BUSY)
    for (const exit of exits) exit()
    for (const answer of [second, third]) expect((await answer).status).toBe(200)
  })

  test('counts no request that waits for its signaller without waitMs', async () => {
    const answers: ((outcome: Outcome) => void)[] = []
    const slow = conditionalSignaller(() => new Promise((resolve) => answers.push(resolve)))
    const app = createApp({ signaller: slow, maxWaits: 1 })
    const both = [post(app, { pid: 1234 }), post(app, { pid: 1234, waitMs: 1 })]
    await expect.poll(() => answers).toHaveLength(2)
    for (const answer of answers) answer({ code: 'sent' })
    for (const response of both) expect(await read(response)).toEqual(OK)
  })

  test('counts no wait that has failed', async () => {
    const signaller = conditionalSignaller(() => Promise.reject(new Error('gone')))
    const app = createApp({ signaller, maxWaits: 1, onError: () => {} })
    for (let i = 0; i < 3; i++) expect(await read(post(app, { pid: 1234, waitMs: 1 }))).toEqual(FAILED)
  })

  test('is asked before the signaller, and after what is wrong with the request', async () => {
    const app = createApp({ signaller: recordingSignaller(), maxWaits: 0 })
    expect(await read(post(app, { pid: 1234, waitMs: 0 }))).toEqual(BUSY)
    expect(await read(post(app, { pid: 1234, waitMs: 0, other: 1 }))).toEqual(UNKNOWN_FIELD)
    expect(await read(post(app, { pid: 0, waitMs: 0 }))).toEqual(INVALID_PID)
  })

  test('is the outcome in killAttempt where it refuses', async () => {
    const attempts: (KillAttempt | undefined)[] = []
    await post(behind(noting(attempts), recordingSignaller(), { maxWaits: 0 }), { pid: 1234, waitMs: 0 })
    expect(attempts).toEqual([{ pid: 1234, outcome: { code: 'too many waits' } }])
  })
})

describe('conditions', () => {
  const time = `"startedBefore":"${TIME}"`

  test.each([
    ['startedBefore', `{"pid":1234,${time}}`, { startedBefore: new Date(TIME) }],
    ['waitMs', '{"pid":"1234","waitMs":250}', { waitMs: 250 }],
    ['waitMs 0', '{"pid":1234,"waitMs":0}', { waitMs: 0 }],
    ['waitMs 60000', '{"pid":1234,"waitMs":6e4}', { waitMs: 60_000 }],
    ['dryRun', '{"pid":1234,"dryRun":true}', { dryRun: true }],
    ['command', '{"pid":1234,"command":"node"}', { command: 'node' }],
    ['an empty command', '{"pid":1234,"command":""}', { command: '' }],
    ['a comment beside one', '{"pid":1234,"comment":"\\u0000","command":"x"}', { command: 'x', comment: '\0' }],
    ['both', `{"waitMs":1,${time},"pid":1234}`, { startedBefore: new Date(TIME), waitMs: 1 }],
  ])('%s reaches the signaller, parsed', async (_name, body, conditions) => {
    const signaller = conditionalSignaller()
    expect(await read(postRaw(createApp({ signaller }), body))).toEqual(OK)
    const stopWaiting = 'waitMs' in conditions ? [expect.any(AbortSignal)] : []
    expect(signaller.calls).toEqual([
      { pid: 1234, delivery: { ...conditions, stopWaiting, onSignal: expect.any(Function) } },
    ])
    expect(signaller.pids).toEqual([])
  })

  test('the method is called on the signaller, so that it may be an instance of a class', async () => {
    class Counting {
      count = 0
      terminate() {
        this.count += 1
        return { code: 'sent' as const }
      }
    }
    const signaller = new Counting()
    expect(await read(post(createApp({ signaller }), { pid: 1234 }))).toEqual(OK)
    expect(signaller.count).toBe(1)
  })

  test.each([
    ['startedBefore', { waitMs: 0 }, NO_WAIT_MS],
    ['waitMs', { startedBefore: TIME }, NO_STARTED_BEFORE],
    ['waitMs', { startedBefore: TIME, waitMs: 0 }, NO_STARTED_BEFORE],
  ] as const)('a signaller that supports %s alone never sees %j', async (name, conditions, answer) => {
    const signaller = { ...conditionalSignaller(), supports: [name] }
    expect(await read(post(createApp({ signaller }), { pid: 1234, ...conditions }))).toEqual(answer)
    expect(signaller).toMatchObject({ pids: [], calls: [] })
  })

  test.each([
    [`{"pid":1234,${time}}`, NO_STARTED_BEFORE],
    [`{"pid":1234,${time},"waitMs":0}`, NO_STARTED_BEFORE],
    ['{"pid":1234,"waitMs":0}', NO_WAIT_MS],
    ['{"pid":1234,"waitMs":60000}', NO_WAIT_MS],
  ])('%s is 501 and sends no signal where the signaller supports none', async (body, answer) => {
    const signaller = recordingSignaller()
    expect(await read(postRaw(createApp({ signaller }), body))).toEqual(answer)
    expect(signaller.pids).toEqual([])
  })

  test('dryRun false, and a comment, ask for nothing: they reach every signaller', async () => {
    for (const body of ['{"pid":1234,"dryRun":false}', '{"pid":1234,"comment":"x"}', '{"pid":1234,"comment":""}']) {
      const signaller = recordingSignaller()
      expect(await read(postRaw(createApp({ signaller }), body))).toEqual(OK)
      expect(signaller.pids).toEqual([1234])
    }
  })

  test.each([
    ['{"pid":1234,"dryRun":true}', NO_DRY_RUN],
    ['{"pid":1234,"dryRun":true,"command":"x"}', NO_DRY_RUN],
    ['{"pid":1234,"command":"x","comment":"y"}', NO_COMMAND],
    ['{"pid":1234,"command":""}', NO_COMMAND],
  ])('%s is 501 and reaches no signaller that does not name it', async (body, answer) => {
    const all = conditionalSignaller()
    for (const supports of [undefined, [], ['startedBefore', 'waitMs']] as const) {
      const signaller = { ...all, ...(supports && { supports }) }
      const app = createApp({ signaller: supports ? signaller : { terminate: all.terminate } })
      expect(await read(postRaw(app, body))).toEqual(answer)
    }
    expect(all).toMatchObject({ pids: [], calls: [] })
  })

  const badTimes = ['null', '0', '1795507200000', 'true', '[]', '{}', '""', '"now"', '"2026-11-24"', `["${TIME}"]`]
  const badWaits = ['null', '-1', '0.5', '60001', '1e9', '1e400', '"0"', '"250"', 'true', '[]', '[0]', '{}', '""']
  test.each([
    ...badTimes.map((value) => [`{"pid":1234,"startedBefore":${value}}`, INVALID_STARTED_BEFORE] as const),
    ...['null', '0', '1', '"true"', '""', '[]', '{}'].map(
      (value) => [`{"pid":1234,"dryRun":${value}}`, INVALID_DRY_RUN] as const,
    ),
    ...['null', '0', 'true', '["node"]', '{}'].map(
      (value) => [`{"pid":1234,"command":${value}}`, INVALID_COMMAND] as const,
    ),
    ...['null', '0', 'true', '["x"]', '{}', JSON.stringify('x'.repeat(201)), JSON.stringify('😀'.repeat(201))].map(
      (value) => [`{"pid":1234,"comment":${value}}`, INVALID_COMMENT] as const,
    ),
    ...badWaits.map((value) => [`{"pid":1234,"waitMs":${value}}`, INVALID_WAIT_MS] as const),
  ])('%s is malformed', async (body, answer) => {
    for (const signaller of [conditionalSignaller(), recordingSignaller()]) {
      expect(await read(postRaw(createApp({ signaller }), body))).toEqual(answer)
      expect(signaller.pids).toEqual([])
      if ('calls' in signaller) expect(signaller.calls).toEqual([])
    }
  })

  test.each([
    ['{"waitMs":null,"startedBefore":null,"pid":null}', INVALID_PID],
    ['{"waitMs":null,"startedBefore":null}', INVALID_PID],
    ['{"waitMs":null,"pid":"x"}', INVALID_PID],
    ['{"startedBefore":null,"pid":-1}', INVALID_PID],
    ['{"waitMs":-1,"pid":"0"}', INVALID_PID],
    ['{"startedBefore":"x","pid":"9007199254740992"}', INVALID_PID],
    ['{"waitMs":-1,"startedBefore":"x","pid":1234}', INVALID_STARTED_BEFORE],
    ['{"waitMs":-1,"startedBefore":null,"pid":4294967296}', INVALID_STARTED_BEFORE],
    [`{"waitMs":-1,"startedBefore":"${TIME}","pid":1234}`, INVALID_WAIT_MS],
    ['{"comment":0,"command":0,"dryRun":0,"waitMs":-1,"pid":1234}', INVALID_WAIT_MS],
    ['{"x":1,"comment":0,"command":0,"dryRun":0,"pid":1234}', INVALID_DRY_RUN],
    ['{"x":1,"comment":0,"command":0,"pid":1234,"dryRun":true}', INVALID_COMMAND],
    ['{"x":1,"comment":0,"pid":1234,"dryRun":true}', INVALID_COMMENT],
    ['{"x":1,"pid":1234,"dryRun":true}', UNKNOWN_FIELD],
  ])('of several wrong fields the first in the order of the README is named: %s', expectUnsignalled)

  describe('stopWaiting', () => {
    const signalsOf = async (stopping?: AbortSignal, init: RequestInit = {}, headers = {}) => {
      const signaller = conditionalSignaller()
      const app = createApp({ signaller, ...(stopping && { stopping }) })
      expect(await read(postRaw(app, '{"pid":1234,"waitMs":0}', headers, init))).toEqual(OK)
      return signaller.calls[0]?.delivery.stopWaiting ?? []
    }

    test.each([
      ['with a declared length', { 'content-length': '23' }],
      ['without', {}],
    ])('has the signal of the request, %s', async (_name, headers) => {
      const client = new AbortController()
      const signals = await signalsOf(undefined, { signal: client.signal }, headers)
      expect(signals.map(({ aborted }) => aborted)).toEqual([false])
      client.abort()
      expect(signals.map(({ aborted }) => aborted)).toEqual([true])
    })

    test('has the signal of the server', async () => {
      const { signal } = new AbortController()
      const signals = await signalsOf(signal)
      expect(signals).toHaveLength(2)
      expect(signals).toContain(signal)
    })
  })
})

describe('a body that ends early', () => {
  const failing = () =>
    new ReadableStream({
      pull: () => {
        throw new Error('gone')
      },
    })

  test.each([
    ['with a declared length', { 'content-length': '12' }],
    ['without', {}],
  ])('is no error of ours, %s', async (_name, headers) => {
    const onError = vi.fn()
    const signaller = recordingSignaller()
    const attempts: (KillAttempt | undefined)[] = []
    const host = behind(noting(attempts), signaller, { onError })
    expect(await read(postRaw(host, failing(), headers))).toEqual(INVALID_PID)
    expect(attempts).toEqual([{ reason: 'body' }])
    expect(onError).not.toHaveBeenCalled()
    expect(signaller.pids).toEqual([])
  })
})

describe.each(['/', '/base', '/a/:b'])('mounted at %s of a host service', (base) => {
  const at = (path: string) => `${base === '/' ? '' : base}${path}`

  const startHost = (signaller = recordingSignaller()) => {
    const touched: string[] = []
    const own = createApp({ signaller, onError: () => touched.push('the app’s onError') })
    const host = new Hono()
      .use(async (c, next) => {
        await next()
        c.res.headers.append('x-host', 'yes')
      })
      .get('/before', (c) => c.text('before'))
      .route(base, own)
      .get('/after', (c) => c.text('after'))
      .post(at('/api/connections/kill/all'), (c) => c.text('all'))
      .get(at('/api/connections'), (c) => c.text('list'))
      .post('/echo', async (c) => c.text(await c.req.text()))
      .get('/bad', () => {
        throw new HTTPException(400, { message: 'the host’s own' })
      })
      .get('/broken', () => {
        throw new Error('the host’s own')
      })
      .notFound((c) => c.text('host: not found', 404))
      .onError((error, c) => c.text(`host: ${error.message}`, 500))
    const ask = async (path: string, init: RequestInit = {}) => {
      const response = await host.request(path, init)
      return [response.status, response.headers.get('x-host'), await response.text()]
    }
    return { host, ask, touched, signaller }
  }

  test('it kills, behind the host’s middleware', async () => {
    const { host, signaller } = startHost()
    const response = await postRaw(host, '{"pid":1234}', {}, { path: at(KILL) })
    expect(response.headers.get('x-host')).toBe('yes')
    expect(await read(response)).toEqual(OK)
    expect(signaller.pids).toEqual([1234])
  })

  test.each([
    ['{"pid":"12abc"}', INVALID_PID],
    ['{"pid":1234,"waitMs":0}', NO_WAIT_MS],
    ['{', INVALID_PID],
    [' '.repeat(5000), json(413, '{"error":"Payload Too Large"}')],
  ])('it refuses as ever: %.20j', async (body, answer) => {
    const { host, signaller, touched } = startHost()
    expect(await read(postRaw(host, body, {}, { path: at(KILL) }))).toEqual(answer)
    expect(signaller.pids).toEqual([])
    expect(touched).toEqual([])
  })

  test('its errors are its own, and another method is its 405', async () => {
    const { host, touched } = startHost(
      recordingSignaller(() => {
        throw new Error('inside')
      }),
    )
    expect(await read(postRaw(host, '{"pid":1234}', {}, { path: at(KILL) }))).toEqual(FAILED)
    expect(touched).toEqual(['the app’s onError'])
    const response = await host.request(at(KILL))
    expect(response.headers.get('allow')).toBe('POST')
    expect(await read(response)).toEqual(json(405, '{"error":"Method Not Allowed"}'))
  })

  test('every other route, the 404 and the errors stay the host’s', async () => {
    const { ask, touched, signaller } = startHost()
    const large = 'x'.repeat(10_000)
    expect(await ask('/before')).toEqual([200, 'yes', 'before'])
    expect(await ask('/after')).toEqual([200, 'yes', 'after'])
    expect(await ask(at('/api/connections'))).toEqual([200, 'yes', 'list'])
    expect(await ask(at('/api/connections/kill/all'), { method: 'POST', body: large })).toEqual([200, 'yes', 'all'])
    expect(await ask('/echo', { method: 'POST', body: large })).toEqual([200, 'yes', large])
    expect(await ask('/nowhere')).toEqual([404, 'yes', 'host: not found'])
    expect(await ask(at(`${KILL}/`), { method: 'POST' })).toEqual([404, 'yes', 'host: not found'])
    expect(await ask(`/elsewhere${KILL}`, { method: 'POST' })).toEqual([404, 'yes', 'host: not found'])
    expect(await ask('/bad')).toEqual([500, 'yes', 'host: the host’s own'])
    expect(await ask('/broken')).toEqual([500, 'yes', 'host: the host’s own'])
    expect(touched).toEqual([])
    expect(signaller.pids).toEqual([])
  })
})

test.each([
  ['with a declared length', { 'content-length': '12' }],
  ['without', {}],
])('a host’s middleware may read the body before it, %s', async (_name, headers) => {
  const signaller = recordingSignaller()
  const bodies: unknown[] = []
  const host = new Hono()
    .use(async (c, next) => {
      bodies.push(await c.req.json())
      return next()
    })
    .route('/', createApp({ signaller }))
  expect(await read(postRaw(host, '{"pid":1234}', headers))).toEqual(OK)
  expect(bodies).toEqual([{ pid: 1234 }])
  expect(signaller.pids).toEqual([1234])
})

test('two apps with different signallers do not mix', async () => {
  const [one, two] = [recordingSignaller(), recordingSignaller()]
  const host = new Hono().route('/one', createApp({ signaller: one })).route('/two', createApp({ signaller: two }))
  await postRaw(host, '{"pid":1111}', {}, { path: `/one${KILL}` })
  await postRaw(host, '{"pid":2222}', {}, { path: `/two${KILL}` })
  expect([one.pids, two.pids]).toEqual([[1111], [2222]])
})
