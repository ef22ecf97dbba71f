import { Hono, type MiddlewareHandler } from 'hono'
import { requestId } from 'hono/request-id'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { createApp } from '../../src/app/app.ts'
import { KILL_PATH } from '../../src/app/contract.ts'
import { CONDITIONS, type Delivery, type Outcome } from '../../src/app/signaller.ts'
import { type AccessLogOptions, accessLog } from '../../src/server/access-log.ts'
import { postRaw } from '../support/post.ts'

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

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
  const records = () => lines.map((line) => JSON.parse(line))
  return { service, lines, signalled, records, kill: (body: string) => postRaw(service, body) }
}

/** A middleware that names the caller. */
const calledBy =
  (name: string): MiddlewareHandler =>
  (c, next) => {
    c.set('killCaller', name)
    return next()
  }

/** What ends a line, or moves the cursor, for any reader: control characters, C1 and the Unicode line ends. */
const CONTROLS = [...'\n\r\t\v\f\b\0\u001b\u007f\u0085\u009b\u2028\u2029\ufeff\u202e']
const FORGING = [...CONTROLS, '\r\n', '"', '\\', '"}\n{"pid":1}']
const isOneLine = (line: string | undefined) => expect(line).toMatch(/^[\x20-\x7e]+$/)

describe('the record of a request', () => {
  test('is one line of JSON with all that happened', async () => {
    vi.useFakeTimers({ toFake: ['Date'], now: new Date('2026-11-24T08:00:00.007Z') })
    vi.spyOn(performance, 'now').mockReturnValueOnce(10).mockReturnValueOnce(11.23456)
    let remote: { address?: string } = { address: '192.0.2.7' }
    const leave: Terminate = (_pid, { onSignal }) => {
      remote = {}
      onSignal({ code: 'sent', command: 'sleep' })
      return { code: 'sent', command: 'sleep' }
    }
    const { kill, records } = serviceWith(leave, { getConnInfo: () => ({ remote }) }, calledBy('alice'))
    const response = await kill('{"pid":1234,"comment":"ticket 4711"}')
    const record = {
      time: '2026-11-24T08:00:00.007Z',
      id: expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
      // It was there when the request came.
      remote: '192.0.2.7',
      by: 'alice',
      method: 'POST',
      path: KILL_PATH,
      pid: 1234,
      command: 'sleep',
      outcome: 'sent',
      comment: 'ticket 4711',
      status: 200,
      ms: 1.235,
    }
    expect(records()).toEqual([record])
    expect(Object.keys(records()[0])).toEqual(Object.keys(record))
    expect(response.headers.get('x-request-id')).toBe(records()[0].id)
  })

  test.each<[Outcome, reason: string | undefined, status: number, isSignal: boolean]>([
    [{ code: 'sent' }, undefined, 200, true],
    [{ code: 'exited' }, undefined, 200, true],
    [{ code: 'would send' }, undefined, 200, false],
    [{ code: 'ESRCH' }, 'gone', 404, false],
    [{ code: 'ESRCH', reason: 'other instance' }, 'other instance', 404, false],
    [{ code: 'EPERM', reason: 'protected' }, 'protected', 403, false],
    [{ code: 'no command' }, 'not supported', 501, false],
  ])('of %j has the reason %s', async (outcome, reason, status, isSignal) => {
    const { kill, records, signalled } = serviceWith(() => outcome)
    await kill('{"pid":7,"dryRun":true}')
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
})

describe('the record of a signal', () => {
  const telling = (end: () => Outcome | Promise<Outcome>, code: 'sent' | 'forwarded' = 'sent'): Terminate => {
    return (_pid, { onSignal }) => {
      onSignal({ code, command: 'sleep' })
      return end()
    }
  }

  test('is written when it goes out, and a second one with the same id tells the end', async () => {
    const end = (): Outcome => {
      expect(records()).toMatchObject([{ pid: 7, command: 'sleep', outcome: 'sent', comment: 'x', status: 200 }])
      return { code: 'exited', command: 'sleep' }
    }
    const { kill, records, signalled } = serviceWith(telling(end))
    await kill('{"pid":7,"waitMs":9,"comment":"x"}')
    expect(records()).toMatchObject([{ outcome: 'sent' }, { pid: 7, outcome: 'exited', comment: 'x', status: 200 }])
    expect(records()[0].id).toBe(records()[1].id)
    expect(signalled).toEqual([true, true])
  })

  test('that a gateway forwards is written before, and again with the end', async () => {
    const { kill, records, signalled } = serviceWith(telling(() => ({ code: 'ESRCH' }), 'forwarded'))
    await kill('{"pid":7}')
    expect(records()).toMatchObject([{ outcome: 'forwarded' }, { outcome: 'ESRCH', reason: 'gone', status: 404 }])
    expect(records()[0]).not.toHaveProperty('status')
    expect(signalled).toEqual([true, false])
  })

  test('stays, and the failure of the wait or of the host is on record too', async () => {
    const waiting = serviceWith(telling(() => Promise.reject(new Error('of the wait'))))
    await waiting.kill('{"pid":7,"waitMs":9}')
    const failed = { outcome: 'failed', status: 500, error: expect.stringContaining('of the wait') }
    expect(waiting.records()).toMatchObject([{ outcome: 'sent', status: 200 }, failed])
    expect(waiting.signalled).toEqual([true, true])

    const fails: MiddlewareHandler = async (_c, next) => {
      await next()
      throw new Error('of the host')
    }
    const hosted = serviceWith(
      telling(() => ({ code: 'sent' })),
      {},
      fails,
    )
    hosted.service.onError((_error, c) => c.text('sorry', 500))
    expect((await hosted.kill('{"pid":7}')).status).toBe(500)
    expect(hosted.records().map(({ outcome, status }) => `${outcome} ${status}`)).toEqual(['sent 200', 'sent 500'])
  })

  test('that cannot be written is no 500: the error goes to console.error', async () => {
    using error = vi.spyOn(console, 'error').mockImplementation(() => {})
    const { kill } = serviceWith(
      telling(() => ({ code: 'exited' })),
      { write: throwing('disk full') },
    )
    expect((await kill('{"pid":7,"waitMs":9}')).status).toBe(200)
    expect((await kill('{"pid":"x"}')).status).toBe(400)
    expect(error.mock.calls).toEqual([['disk full'], ['disk full'], ['disk full']])
  })
})

describe('nothing that a client sends', () => {
  test.each(FORGING)('forges a line: %j', async (char) => {
    const value = `a${char}b`
    const { kill, service, lines, records } = serviceWith((pid) => {
      if (pid === 8) throw new Error(value)
      return { code: 'sent', command: value }
    })
    const pids = [value, [char], { [char]: char }]
    for (const body of [{ pid: 7, comment: value }, { pid: 8 }, { pid: 7, [value]: 1 }])
      await kill(JSON.stringify(body))
    for (const pid of pids) await kill(JSON.stringify({ pid }))
    await service.request(`/a${encodeURIComponent(char)}b`)
    expect(lines).toHaveLength(7)
    for (const line of lines) isOneLine(line)
    const [named, failed, unknown, ...refused] = records()
    expect(named).toMatchObject({ command: value, comment: value })
    expect(failed.error).toContain(value)
    expect(unknown.detail).toBe(JSON.stringify(value))
    expect(refused[0]).toMatchObject({ pid: value, outcome: 'refused', reason: 'pid', status: 400 })
    expect(refused.slice(1, 3).map(({ pid }) => pid)).toEqual(pids.slice(1).map((pid) => JSON.stringify(pid)))
  })

  test.each(['X-Forwarded-For', 'Forwarded'])('hides what the nearest proxy says in %s', async (name) => {
    const { service, lines, records } = serviceWith(sent)
    for (const value of ['192.0.2.1, \x85"', `${'x'.repeat(130)}, 192.0.2.1`])
      await service.request(KILL_PATH, { method: 'POST', headers: { [name]: value } })
    expect(records().map(({ forwarded }) => forwarded)).toEqual(['192.0.2.1, \x85"', `${'x'.repeat(117)}, 192.0.2.1`])
    isOneLine(lines[0])
  })

  test('fills a disk', async () => {
    const long = new Error('long '.repeat(10_000))
    const { kill, service, lines, records } = serviceWith(throwing(long), {}, calledBy('a'.repeat(1000)))
    for (const pid of ['é'.repeat(1500), ['x'.repeat(4000)], `${'x'.repeat(63)}😀`]) await kill(JSON.stringify({ pid }))
    await kill(`{"pid":7,"${'x'.repeat(500)}":1}`)
    await kill('{"pid":7}')
    await service.request(`/${'x'.repeat(10_000)}`)
    const [text, list, emoji, unknown, failed, other] = records()
    expect([text.pid, list.pid]).toEqual(['é'.repeat(64), `["${'x'.repeat(62)}`])
    expect(emoji.pid).toBe(`${'x'.repeat(63)}\ud83d`)
    expect(unknown.detail).toBe(`"${'x'.repeat(127)}`)
    expect(failed.error).toHaveLength(4096)
    expect(other.path).toBe(`/${'x'.repeat(63)}`)
    for (const { by } of records()) expect(by).toBe('a'.repeat(128))
    for (const line of lines) isOneLine(line)
    const named = serviceWith(() => ({ code: 'EPERM', command: 'x'.repeat(100_000) }))
    await named.kill('{"pid":7}')
    expect(named.records()[0].command).toBe('x'.repeat(64))
  })
})

describe('an unexpected error', () => {
  test('is in the record with its stack and its cause', async () => {
    const cause = new TypeError('ECONNREFUSED 10.0.0.5')
    const { kill, records } = serviceWith(throwing(new Error('fetch failed', { cause })))
    const response = await kill('{"pid":7,"comment":"why"}')
    expect(await response.text()).toBe('{"error":"Failed to kill process"}')
    expect(records()).toMatchObject([{ pid: 7, comment: 'why', outcome: 'failed', status: 500 }])
    const stacks =
      /^Error: fetch failed\n +at .+access-log\.test\.ts(.|\n)+\nCaused by: TypeError: ECONNREFUSED 10\.0\.0\.5\n +at /
    expect(records()[0].error).toMatch(stacks)
    expect(response.headers.get('x-request-id')).toBe(records()[0].id)
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
    expect((await kill('{"pid":7}')).status).toBe(500)
    expect(records()).toMatchObject([{ outcome: 'failed', error }])
  })

  test('is all that quiet writes', async () => {
    const terminate: Terminate = (pid) => (pid === 7 ? { code: 'sent' } : throwing('disk on fire')())
    const { kill, service, records } = serviceWith(terminate, { quiet: true })
    expect((await kill('{"pid":7}')).headers.has('x-request-id')).toBe(true)
    await kill('{"pid":"x"}')
    await service.request('/elsewhere')
    await kill('{"pid":8}')
    expect(records()).toMatchObject([{ outcome: 'failed', error: 'disk on fire' }])
  })
})

describe('the id of a request', () => {
  test('is a new one, whatever the client sends', async () => {
    const { service, records } = serviceWith(sent)
    for (let i = 0; i < 2; i++) await service.request('/', { headers: { 'x-request-id': 'forged' } })
    const [first, second] = records().map(({ id }) => id)
    expect(first).not.toBe(second)
    expect([first, second]).not.toContain('forged')
  })

  test.each([
    [{ generator: () => 'of-the-host', headerName: '' }, 'of-the-host'],
    [{ headerName: 'X-Correlation-Id' }, 'from-the-proxy'],
  ])('is the one of a requestId() before the record: %j', async (options, id) => {
    const lines: string[] = []
    const service = new Hono().use(requestId(options), accessLog({ write: (line) => lines.push(line) }))
    const headers = { 'x-correlation-id': 'from-the-proxy', 'x-request-id': 'forged' }
    const response = await service.request('/', { headers })
    expect([JSON.parse(lines[0] ?? '').id, response.headers.get('x-request-id')]).toEqual([id, id])
  })
})
