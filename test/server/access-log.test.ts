import { Hono, type MiddlewareHandler } from 'hono'
import { requestId } from 'hono/request-id'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createApp } from '../../src/app/app.ts'
import { KILL_PATH } from '../../src/app/contract.ts'
import { CONDITIONS, type Delivery, type Outcome } from '../../src/app/signaller.ts'
import { type AccessLogOptions, accessLog } from '../../src/server/access-log.ts'
import { postRaw } from '../support/post.ts'

type Terminate = (pid: number, delivery: Delivery) => Outcome | Promise<Outcome>
const sent: Terminate = () => ({ code: 'sent' })
const throwing = (thrown: unknown) => () => {
  throw thrown
}

/** A service with a record in front of the app and of other middleware, and all that was written. */
const serviceWith = (terminate: Terminate, options: Partial<AccessLogOptions> = {}, ...inner: MiddlewareHandler[]) => {
  const lines: string[] = []
  const signalled: boolean[] = []
  const write: AccessLogOptions['write'] = (line, isSignal) => signalled.push(isSignal) && lines.push(line)
  const service = new Hono()
    .use(accessLog({ write, ...options }), ...inner)
    .route('/', createApp({ signaller: { supports: CONDITIONS, terminate }, onError: () => {} }))
    .onError((_error, c) => c.text('sorry', 500))
  const records = () => lines.map((line) => JSON.parse(line))
  return { service, lines, signalled, records, kill: (body: object) => postRaw(service, JSON.stringify(body)) }
}

/** A middleware that names the caller. */
const calledBy =
  (name: string): MiddlewareHandler =>
  (c, next) => {
    c.set('killCaller', name)
    return next()
  }

describe('the record of a request', () => {
  test('is one line of JSON with all that happened', async () => {
    onTestFinished(() => void vi.useRealTimers())
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-24T08:00:00.007Z') })
    using _now = vi.spyOn(performance, 'now').mockReturnValueOnce(10).mockReturnValueOnce(11.23456)
    let remote: { address?: string } = { address: '192.0.2.7' }
    const leave: Terminate = (_pid, { onSignal }) => {
      remote = {}
      onSignal({ code: 'sent', command: 'sleep' })
      return { code: 'sent', command: 'sleep' }
    }
    const { kill, lines } = serviceWith(leave, { getConnInfo: () => ({ remote }) }, calledBy('alice'))
    const id = (await kill({ pid: 1234, comment: 'ticket 4711' })).headers.get('x-request-id')
    expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    // The address was there when the request came.
    const request = { remote: '192.0.2.7', by: 'alice', method: 'POST', path: KILL_PATH }
    const signal = { pid: 1234, command: 'sleep', outcome: 'sent', comment: 'ticket 4711', status: 200, ms: 1.235 }
    expect(lines).toEqual([JSON.stringify({ time: '2026-11-24T08:00:00.007Z', id, ...request, ...signal })])
  })

  test.each<[Outcome, reason: string | undefined, status: number, isSignal: boolean]>([
    [{ code: 'sent' }, undefined, 200, true],
    [{ code: 'would send' }, undefined, 200, false],
    [{ code: 'ESRCH', reason: 'other instance' }, 'other instance', 404, false],
    [{ code: 'EPERM', reason: 'protected' }, 'protected', 403, false],
    [{ code: 'no command' }, 'not supported', 501, false],
  ])('of %j has the reason %s', async (outcome, reason, status, isSignal) => {
    const { kill, records, signalled } = serviceWith(() => outcome)
    await kill({ pid: 7, dryRun: true })
    expect(records()).toMatchObject([{ pid: 7, dryRun: true, outcome: outcome.code, status }])
    expect(records()[0].reason).toBe(reason)
    expect(signalled).toEqual([isSignal])
  })

  test('has no outcome and no reason on another route', async () => {
    const { service, records } = serviceWith(sent)
    await service.request('/elsewhere', { method: 'DELETE' })
    expect(records()).toMatchObject([{ method: 'DELETE', path: '/elsewhere', status: 404 }])
    for (const name of ['outcome', 'reason', 'pid', 'remote', 'by']) expect(records()[0]).not.toHaveProperty(name)
  })

  test('that cannot be written is no 500: the error goes to console.error', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const { kill } = serviceWith(sent, { write: throwing('disk full') })
    expect((await kill({ pid: 7 })).status).toBe(200)
    expect((await kill({ pid: 'x' })).status).toBe(400)
    expect(error.mock.calls).toEqual([['disk full'], ['disk full']])
  })
})

const hostFails: MiddlewareHandler = (_c, next) => next().then(throwing(new Error('of the host')))
const FAILED = { outcome: 'failed', status: 500, error: expect.stringContaining('of the wait') }
type End = () => Outcome | Promise<Outcome>

test.each<[what: string, code: 'sent' | 'forwarded', End, told: Record<string, unknown>, MiddlewareHandler?]>([
  ['how a wait ended', 'sent', () => ({ code: 'exited' }), { outcome: 'exited', status: 200 }],
  ['that it was in vain', 'sent', () => ({ code: 'running' }), { outcome: 'running', status: 200 }],
  ['that a wait failed', 'sent', () => Promise.reject(new Error('of the wait')), FAILED],
  ['what a peer said', 'forwarded', () => ({ code: 'ESRCH' }), { outcome: 'ESRCH', reason: 'gone', status: 404 }],
  ['that the host failed', 'sent', () => ({ code: 'sent' }), { outcome: 'sent', status: 500 }, hostFails],
])('a signal is recorded at once, and a second record tells %s', async (_what, code, end, told, ...inner) => {
  const terminate: Terminate = (_pid, { onSignal }) => {
    onSignal({ code, command: 'sleep' })
    expect(records()).toMatchObject([{ pid: 7, command: 'sleep', outcome: code, comment: 'x' }])
    return end()
  }
  const { kill, records, signalled } = serviceWith(terminate, {}, ...inner.filter((each) => each !== undefined))
  await kill({ pid: 7, waitMs: 9, comment: 'x' })
  const [first] = records()
  expect(records()).toMatchObject([{ outcome: code }, { id: first.id, pid: 7, comment: 'x', ...told }])
  expect(first.status).toBe(code === 'sent' ? 200 : undefined)
  expect(signalled).toEqual([true, told['outcome'] !== 'ESRCH'])
})

describe('nothing that a client sends', () => {
  const expectOneLineEach = (lines: string[]) => {
    for (const line of lines) expect(line).toMatch(/^[\x20-\x7e]+$/)
  }

  // What ends a line, or moves the cursor, for any reader: control characters, C1 and the Unicode line ends.
  const CONTROLS = [...'\n\r\t\v\f\b\0\u001b\u007f\u0085\u009b\u2028\u2029\ufeff\u202e']
  test.each([...CONTROLS, '\r\n', '"', '\\', '"}\n{"pid":1}'])('forges a line: %j', async (char) => {
    const value = `a${char}b`
    const { kill, service, lines, records } = serviceWith((pid) => {
      if (pid === 8) throw new Error(value)
      return { code: 'sent', command: value }
    })
    for (const body of [{ pid: 7, comment: value }, { pid: 8 }, { pid: 7, [value]: 1 }]) await kill(body)
    for (const pid of [value, [char], { [char]: char }]) await kill({ pid })
    await service.request(`/a${encodeURIComponent(char)}b`)
    expectOneLineEach(lines)
    expect(records()).toMatchObject([
      { command: value, comment: value },
      { error: expect.stringContaining(value) },
      { detail: JSON.stringify(value) },
      { pid: value, outcome: 'refused', reason: 'pid', status: 400 },
      { pid: JSON.stringify([char]) },
      { pid: JSON.stringify({ [char]: char }) },
      { status: 404 },
    ])
  })

  test.each(['X-Forwarded-For', 'Forwarded'])('hides what the nearest proxy says in %s', async (name) => {
    const { service, lines, records } = serviceWith(sent)
    for (const value of ['192.0.2.1, \x85"', `${'x'.repeat(130)}, 192.0.2.1`])
      await service.request(KILL_PATH, { method: 'POST', headers: { [name]: value } })
    expect(records().map(({ forwarded }) => forwarded)).toEqual(['192.0.2.1, \x85"', `${'x'.repeat(117)}, 192.0.2.1`])
    expectOneLineEach(lines)
  })

  test('fills a disk', async () => {
    const terminate: Terminate = (pid) => {
      if (pid === 8) throw new Error('long '.repeat(10_000))
      return { code: 'EPERM', command: 'x'.repeat(100_000) }
    }
    const { kill, service, lines, records } = serviceWith(terminate, {}, calledBy('a'.repeat(1000)))
    const pids = ['é'.repeat(1500), ['x'.repeat(4000)], `${'x'.repeat(63)}😀`, 7, 8]
    for (const pid of pids) await kill({ pid })
    await kill({ pid: 7, ['x'.repeat(500)]: 1 })
    await service.request(`/${'x'.repeat(10_000)}`)
    expect(records()).toMatchObject([
      { pid: 'é'.repeat(64) },
      { pid: `["${'x'.repeat(62)}` },
      { pid: `${'x'.repeat(63)}\ud83d` },
      { command: 'x'.repeat(64) },
      { error: expect.stringMatching(/^.{4096}$/) },
      { detail: `"${'x'.repeat(127)}` },
      { path: `/${'x'.repeat(63)}` },
    ])
    for (const { by } of records()) expect(by).toBe('a'.repeat(128))
    expectOneLineEach(lines)
  })
})

describe('an unexpected error', () => {
  test('is in the record with its stack and its cause', async () => {
    const cause = new TypeError('ECONNREFUSED 10.0.0.5')
    const { kill, records } = serviceWith(throwing(new Error('fetch failed', { cause })))
    const id = (await kill({ pid: 7, comment: 'why' })).headers.get('x-request-id')
    expect(records()).toMatchObject([{ id, pid: 7, comment: 'why', outcome: 'failed', status: 500 }])
    const [error, causedBy] = records()[0].error.split('\nCaused by: ')
    expect(error).toMatch(/^Error: fetch failed\n +at .+access-log\.test\.ts/)
    expect(causedBy).toMatch(/^TypeError: ECONNREFUSED 10\.0\.0\.5\n +at /)
  })

  const OBJECT = 'Something other than an Error was thrown'
  test.each([
    ['a string', 'a string'],
    [undefined, 'unknown'],
    [null, 'unknown'],
    [Symbol('s'), 'Symbol(s)'],
    [Object.assign(new Error('bare'), { stack: undefined }), 'bare'],
    [Object.create(null), OBJECT],
    [{ cause: 'none', toString: 'none' }, OBJECT],
    [Object.assign(new Error('x', { cause: Object.create(null) }), { stack: 'x' }), `x\nCaused by: ${OBJECT}`],
  ])('may be anything that is thrown', async (thrown, error) => {
    const { kill, records } = serviceWith(throwing(thrown))
    expect((await kill({ pid: 7 })).status).toBe(500)
    expect(records()).toMatchObject([{ outcome: 'failed', error }])
  })

  test('is all that quiet writes', async () => {
    const terminate: Terminate = (pid) => (pid === 7 ? { code: 'sent' } : throwing('disk on fire')())
    const { kill, service, records } = serviceWith(terminate, { quiet: true })
    expect((await kill({ pid: 7 })).headers.has('x-request-id')).toBe(true)
    await service.request('/elsewhere')
    for (const pid of ['x', 8]) await kill({ pid })
    expect(records()).toMatchObject([{ outcome: 'failed', error: 'disk on fire' }])
  })
})

test.each([
  [undefined, expect.not.stringMatching(/forged|from-the-proxy/)],
  [{ generator: () => 'of-the-host', headerName: '' }, 'of-the-host'],
  [{ headerName: 'X-Correlation-Id' }, 'from-the-proxy'],
])('the id is new for each request, or the one of requestId(%j) before the record', async (options, id) => {
  const ids: string[] = []
  const record = accessLog({ write: (line) => ids.push(JSON.parse(line).id) })
  const service = new Hono()
    .use(...(options ? [requestId(options)] : []), record)
    .get('/', (c) => c.text(c.get('requestId')))
  const headers = { 'x-correlation-id': 'from-the-proxy', 'x-request-id': 'forged' }
  const answers = [await service.request('/', { headers }), await service.request('/', { headers })]
  expect(ids).toEqual([id, id])
  expect(ids[0] === ids[1]).toBe(options !== undefined)
  expect(answers.map((answer) => answer.headers.get('x-request-id'))).toEqual(ids)
  expect(await Promise.all(answers.map((answer) => answer.text()))).toEqual(ids)
})
