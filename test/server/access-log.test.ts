import { Hono, type MiddlewareHandler } from 'hono'
import { requestId } from 'hono/request-id'
import { describe, expect, test, vi } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { createApp } from '../../src/app/app.ts'
import type { Outcome, Progress, Signaller } from '../../src/app/signaller.ts'
import { type AccessLogOptions, accessLog } from '../../src/server/access-log.ts'

const serviceWith = (terminate: () => Outcome, options: Partial<AccessLogOptions> = {}) => {
  const lines: string[] = []
  const service = new Hono()
    .use(accessLog({ write: (line) => lines.push(line), ...options }))
    .route('/', createApp({ signaller: { terminate } }))
  const record = () => JSON.parse(lines.at(-1) ?? '')
  const kill = (body: string, path = KILL_PATH) =>
    service.request(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
  return { service, lines, record, kill }
}

const sent = (): Outcome => ({ code: 'sent' })

/** What ends a line, or moves the cursor, for any reader: control characters, C1 and the Unicode line ends. */
const FORGING = [
  ...'\n\r\t\v\f\b\0\u001b\u007f\u0085\u009b\u2028\u2029\ufeff\u202e',
  '\r\n',
  '"',
  '\\',
  '"}\n{"pid":1}',
]

const isOneLine = (line: string | undefined) => expect(line).toMatch(/^[\x20-\x7e]+$/)

describe('the record of a request', () => {
  test('is one line of JSON with all that happened', async () => {
    const { kill, lines, record } = serviceWith(() => ({ code: 'sent', command: 'sleep' }), {
      remoteAddress: () => '192.0.2.7',
    })
    const before = Date.now()
    const response = await kill('{"pid":1234}')
    expect(lines).toHaveLength(1)
    expect(record()).toEqual({
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      id: expect.stringMatching(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
      remote: '192.0.2.7',
      method: 'POST',
      path: KILL_PATH,
      pid: 1234,
      command: 'sleep',
      outcome: 'sent',
      status: 200,
      ms: expect.any(Number),
    })
    expect(Date.parse(record().time)).toBeGreaterThanOrEqual(before)
    expect(response.headers.get('x-request-id')).toBe(record().id)
  })

  test('has the PID as it came in where the request was refused', async () => {
    const { kill, record } = serviceWith(sent)
    for (const [body, pid] of [
      ['{"pid":"12abc"}', '12abc'],
      ['{"pid":-5}', -5],
      ['{"pid":1.5}', 1.5],
      ['{"pid":null}', 'null'],
      ['{"pid":true}', 'true'],
      ['{"pid":[5]}', '[5]'],
      ['{"pid":{"a":"b"}}', '{"a":"b"}'],
      ['{"pid":""}', ''],
      ['{}', undefined],
      ['[]', undefined],
      ['null', undefined],
      ['no JSON', undefined],
    ]) {
      expect((await kill(String(body))).status).toBe(400)
      expect(record()).toMatchObject({ outcome: 'refused', status: 400 })
      expect(record().pid).toEqual(pid)
    }
  })

  test.each<[Outcome['code'], number]>([
    ['sent', 200],
    ['ESRCH', 404],
    ['EPERM', 403],
  ])('has the outcome %s with status %i', async (code, status) => {
    const { kill, record } = serviceWith(() => ({ code }))
    await kill('{"pid":7}')
    expect(record()).toMatchObject({ pid: 7, outcome: code, status })
  })

  test('has no outcome where it is no kill', async () => {
    const { service, record } = serviceWith(sent)
    await service.request('/elsewhere', { method: 'DELETE' })
    expect(record()).toMatchObject({ method: 'DELETE', path: '/elsewhere', status: 404 })
    expect(record()).not.toHaveProperty('outcome')
  })

  test.each(['X-Forwarded-For', 'Forwarded'])(
    'has what a proxy claims in %s, escaped, and of much the end',
    async (name) => {
      const { service, lines, record } = serviceWith(sent)
      const ask = (value: string) => service.request(KILL_PATH, { method: 'POST', headers: { [name]: value } })
      await ask('192.0.2.1, \x85"')
      expect(record()).toMatchObject({ forwarded: '192.0.2.1, \x85"' })
      isOneLine(lines.at(-1))
      await ask(`${'x'.repeat(130)}, 192.0.2.1`)
      expect(record().forwarded).toBe(`${'x'.repeat(117)}, 192.0.2.1`)
    },
  )

  test('has the reason of a refusal, bounded', async () => {
    const { kill, record } = serviceWith(sent)
    await kill(`{"pid":7,"${'x'.repeat(500)}":1}`)
    expect(record()).toMatchObject({ pid: 7, outcome: 'refused', reason: `field "${'x'.repeat(121)}`, status: 400 })
    const protecting = serviceWith(() => ({ code: 'EPERM', command: 'init', reason: 'protected' }))
    await protecting.kill('{"pid":7}')
    expect(protecting.record()).toMatchObject({ outcome: 'EPERM', reason: 'protected' })
  })

  test('of a dry run says that it was one, whatever came of it, and is none of a signal', async () => {
    for (const code of ['would send', 'EPERM', 'ESRCH'] as const) {
      const records: [record: Record<string, unknown>, signalled: boolean][] = []
      const write = (line: string, signalled: boolean) => records.push([JSON.parse(line), signalled])
      const signaller: Signaller = { supports: ['dryRun'], terminate: () => ({ code }) }
      const service = new Hono().use(accessLog({ write })).route('/', createApp({ signaller }))
      await service.request(KILL_PATH, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: '{"pid":7,"dryRun":true}',
      })
      expect(records).toMatchObject([[{ pid: 7, outcome: code, dryRun: true }, false]])
    }
  })

  test.each(FORGING)('has the comment in one line: %j', async (forging) => {
    const { kill, lines, record } = serviceWith(sent)
    await kill(JSON.stringify({ pid: 7, comment: `stuck${forging}import` }))
    expect(record()).toMatchObject({ pid: 7, outcome: 'sent', comment: `stuck${forging}import` })
    expect(record()).not.toHaveProperty('dryRun')
    for (const line of lines) isOneLine(line)
  })

  describe('of a signal', () => {
    const kill = (service: Hono, body = '{"pid":7,"waitMs":9}') =>
      service.request(KILL_PATH, { method: 'POST', headers: { 'content-type': 'application/json' }, body })

    const signalling = (after: () => Outcome | Promise<Outcome>, code: Progress['code'] = 'sent') => {
      const records: [record: Record<string, unknown>, signalled: boolean][] = []
      const write = (line: string, signalled: boolean) => records.push([JSON.parse(line), signalled])
      const signaller: Signaller = {
        supports: ['waitMs'],
        terminate: (_pid, { onSignal }) => {
          onSignal({ code, command: 'sleep' })
          return after()
        },
      }
      return { records, write, signaller }
    }

    test('is made when it goes out, and a second one with the same id when the wait ends', async () => {
      const { records, write, signaller } = signalling(() => {
        expect(records).toMatchObject([[{ pid: 7, command: 'sleep', outcome: 'sent', status: 200 }, true]])
        return { code: 'exited', command: 'sleep' }
      })
      await kill(new Hono().use(accessLog({ write })).route('/', createApp({ signaller })))
      expect(records).toMatchObject([
        [{ outcome: 'sent' }, true],
        [{ pid: 7, outcome: 'exited', status: 200 }, true],
      ])
      expect(records[0]?.[0]['id']).toBe(records[1]?.[0]['id'])
    })

    test('is one where there is no wait', async () => {
      const { records, write, signaller } = signalling(() => ({ code: 'sent', command: 'sleep' }))
      await kill(new Hono().use(accessLog({ write })).route('/', createApp({ signaller })), '{"pid":7}')
      expect(records).toMatchObject([[{ outcome: 'sent', status: 200, ms: expect.any(Number) }, true]])
    })

    test('is made though a middleware of the host fails afterwards, and the failure is on record too', async () => {
      const { records, write, signaller } = signalling(() => ({ code: 'sent' }))
      const service = new Hono()
        .use(accessLog({ write }))
        .use(async (_c, next) => {
          await next()
          throw new Error('of the host')
        })
        .route('/', createApp({ signaller }))
        .onError((_error, c) => c.text('sorry', 500))
      expect((await kill(service, '{"pid":7}')).status).toBe(500)
      expect(records).toMatchObject([
        [{ outcome: 'sent', status: 200 }, true],
        [{ outcome: 'sent', status: 500 }, true],
      ])
    })

    test('is made though the signaller fails afterwards, and the failure, which is as important, is on record too', async () => {
      const { records, write, signaller } = signalling(() => Promise.reject(new Error('of the wait')))
      await kill(new Hono().use(accessLog({ write })).route('/', createApp({ signaller })))
      expect(records).toMatchObject([
        [{ outcome: 'sent', status: 200 }, true],
        [{ outcome: 'failed', status: 500, error: expect.stringContaining('of the wait') }, true],
      ])
    })

    test('that a gateway forwards is made before, and says how it ended after', async () => {
      const { records, write, signaller } = signalling(() => ({ code: 'ESRCH' }), 'forwarded')
      await kill(new Hono().use(accessLog({ write })).route('/', createApp({ signaller })))
      expect(records).toMatchObject([
        [{ outcome: 'forwarded' }, true],
        [{ outcome: 'ESRCH', status: 404 }, false],
      ])
      expect(records[0]?.[0]).not.toHaveProperty('status')
    })

    test('is made too where the signaller says nothing but its outcome', async () => {
      const { records, write } = signalling(() => ({ code: 'sent' }))
      const signaller: Signaller = { terminate: () => ({ code: 'sent' }) }
      await kill(new Hono().use(accessLog({ write })).route('/', createApp({ signaller })), '{"pid":7}')
      expect(records).toMatchObject([[{ outcome: 'sent', status: 200 }, true]])
    })

    test('cannot be written is no 500: what write throws goes to console.error', async () => {
      using error = vi.spyOn(console, 'error').mockImplementation(() => {})
      const cause = new Error('disk full')
      const write = () => {
        throw cause
      }
      const { signaller } = signalling(() => ({ code: 'exited' }))
      const service = new Hono().use(accessLog({ write })).route('/', createApp({ signaller }))
      expect((await kill(service)).status).toBe(200)
      expect((await kill(service, '{"pid":"x"}')).status).toBe(400)
      expect(error.mock.calls).toEqual([[cause], [cause], [cause]])
    })
  })

  test('has a duration in milliseconds', async () => {
    const { kill, record } = serviceWith(() => {
      const end = performance.now() + 5
      while (performance.now() < end);
      return { code: 'sent' }
    })
    const before = performance.now()
    await kill('{"pid":7}')
    const elapsed = performance.now() - before
    expect(record().ms).toBeGreaterThanOrEqual(5)
    expect(record().ms).toBeLessThan(elapsed + 0.001)
    expect(String(record().ms)).toMatch(/^\d+(\.\d{1,3})?$/)
  })

  test('has the address that was there when the request came', async () => {
    let address: string | undefined = '192.0.2.7'
    const leave = (): Outcome => {
      address = undefined
      return { code: 'sent' }
    }
    const { kill, record } = serviceWith(leave, { remoteAddress: () => address })
    await kill('{"pid":7}')
    expect(record().remote).toBe('192.0.2.7')
  })

  test('has an id of its own for each request, whatever the client sends', async () => {
    const { service, lines } = serviceWith(sent)
    for (let i = 0; i < 3; i++) await service.request('/', { headers: { 'x-request-id': 'forged' } })
    expect(new Set(lines.map((line) => JSON.parse(line).id)).size).toBe(3)
    expect(lines.join()).not.toContain('forged')
  })
})

describe('cannot be forged', () => {
  test.each(FORGING)('by %j in the PID', async (char) => {
    const { kill, lines, record } = serviceWith(sent)
    for (const pid of [`1${char}2`, [char], { [char]: char }]) {
      await kill(JSON.stringify({ pid }))
      isOneLine(lines.at(-1))
    }
    expect(lines).toHaveLength(3)
    expect(record()).toMatchObject({ outcome: 'refused', status: 400 })
    await kill(JSON.stringify({ pid: `x${char}` }))
    expect(record().pid).toBe(`x${char}`)
  })

  test.each(FORGING)('by %j in the name of a process', async (char) => {
    const { kill, lines, record } = serviceWith(() => ({ code: 'sent', command: `a${char}b` }))
    await kill('{"pid":7}')
    expect(lines).toHaveLength(1)
    isOneLine(lines[0])
    expect(record().command).toBe(`a${char}b`)
  })

  test.each(FORGING)('by %j in the path', async (char) => {
    const { service, lines, record } = serviceWith(sent)
    await service.request(`/a${encodeURIComponent(char)}b`)
    expect(lines).toHaveLength(1)
    isOneLine(lines[0])
    expect(record()).toMatchObject({ status: 404 })
  })

  test.each(FORGING)('by %j in an error', async (char) => {
    const { kill, lines, record } = serviceWith(() => {
      throw new Error(`a${char}b`)
    })
    await kill('{"pid":7}')
    expect(lines).toHaveLength(1)
    isOneLine(lines[0])
    expect(record().error).toContain(`a${char}b`)
  })
})

describe('is bounded', () => {
  test('for a long PID, path and error', async () => {
    const { kill, lines, record } = serviceWith(() => {
      throw new Error('long '.repeat(10_000))
    })
    await kill(JSON.stringify({ pid: 'é'.repeat(1500) }))
    expect(record().pid).toBe('é'.repeat(64))
    await kill(JSON.stringify({ pid: ['x'.repeat(4000)] }))
    expect(record().pid).toBe(`["${'x'.repeat(62)}`)
    await kill('{"pid":7}', `/${'x'.repeat(10_000)}`)
    expect(record().path).toBe(`/${'x'.repeat(63)}`)
    await kill('{"pid":7}')
    expect(record().error).toHaveLength(4096)
    for (const line of lines) expect(line.length).toBeLessThan(5000)
  })

  test('and a pair of surrogates cut in two is still one line of ASCII', async () => {
    const { kill, lines } = serviceWith(sent)
    await kill(JSON.stringify({ pid: `${'x'.repeat(63)}😀` }))
    isOneLine(lines[0])
  })
})

describe('an unexpected error', () => {
  const failing = (error: unknown, options: Partial<AccessLogOptions> = {}) =>
    serviceWith(() => {
      throw error
    }, options)

  test('is in the record with its stack, not in the answer', async () => {
    const { kill, record } = failing(new Error('kill EINVAL'))
    const response = await kill('{"pid":7}')
    expect(await response.text()).toBe('{"error":"Failed to kill process"}')
    expect(record()).toMatchObject({ pid: 7, outcome: 'failed', status: 500 })
    expect(record().error).toMatch(/^Error: kill EINVAL\n +at .+access-log\.test\.ts/)
    expect(response.headers.get('x-request-id')).toBe(record().id)
  })

  test('has its cause there too', async () => {
    const { kill, record } = failing(new Error('fetch failed', { cause: new TypeError('ECONNREFUSED 10.0.0.5') }))
    await kill('{"pid":7}')
    expect(record().error).toMatch(
      /^Error: fetch failed\n(.|\n)+\nCaused by: TypeError: ECONNREFUSED 10\.0\.0\.5\n +at /,
    )
  })

  test.each([
    ['a string', 'a string'],
    [42, '42'],
    [undefined, 'unknown'],
    [null, 'unknown'],
    [false, 'false'],
    [Symbol('s'), 'Symbol(s)'],
  ])('may be anything that is thrown: %s', async (thrown, text) => {
    const { kill, record } = failing(thrown)
    expect((await kill('{"pid":7}')).status).toBe(500)
    expect(record()).toMatchObject({ outcome: 'failed', error: text })
  })

  test('without a stack is there with its message', async () => {
    const error = new Error('bare')
    delete error.stack
    const { kill, record } = failing(error)
    await kill('{"pid":7}')
    expect(record().error).toBe('bare')
  })

  test.each([
    Object.create(null),
    { cause: 'none', toString: 'none' },
    new Error('bad cause', { cause: Object.create(null) }),
  ])('is recorded even if it cannot be shown as a text', async (thrown) => {
    const { kill, record } = failing(thrown)
    expect((await kill('{"pid":7}')).status).toBe(500)
    expect(record()).toMatchObject({ outcome: 'failed', status: 500 })
    expect(record().error).toMatch(/(^|\nCaused by: )An object that is no Error was thrown$/)
    if (!(thrown instanceof Error)) expect(record().error).not.toContain('Caused by')
  })
})

test('quiet leaves out everything but errors', async () => {
  let error: Error | undefined
  const outcome = (): Outcome => {
    if (error) throw error
    return { code: 'sent' }
  }
  const { service, kill, lines, record } = serviceWith(outcome, { quiet: true })
  const response = await kill('{"pid":7}')
  expect(response.headers.has('x-request-id')).toBe(true)
  await kill('{"pid":"x"}')
  expect((await service.request('/elsewhere')).status).toBe(404)
  expect(lines).toEqual([])
  error = new Error('disk on fire')
  await kill('{"pid":7}')
  expect(lines).toHaveLength(1)
  expect(record()).toMatchObject({ outcome: 'failed', error: expect.stringContaining('disk on fire') })
})

test('the name of the caller is in the record, however long', async () => {
  const lines: string[] = []
  const service = new Hono().use(accessLog({ write: (line) => lines.push(line) }), (c, next) => {
    c.set('killCaller', 'a'.repeat(1000))
    return next()
  })
  await service.request('/')
  expect(JSON.parse(lines[0] ?? '').by).toBe('a'.repeat(128))
})

test('an error that is on record goes nowhere else', async () => {
  using error = vi.spyOn(console, 'error').mockImplementation(() => {})
  const { kill, record } = serviceWith(() => {
    throw new Error('disk on fire')
  })
  await kill('{"pid":7}')
  expect(record().error).toContain('disk on fire')
  expect(error).not.toHaveBeenCalled()
})

describe('the id of a request', () => {
  const lines: string[] = []
  const record = accessLog({ write: (line) => lines.push(line) })

  /** Asks a service that has these pieces in this order; what the adapter of Node hands over is there, and not to be touched. */
  const ask = async (pieces: MiddlewareHandler[], headers: Record<string, string> = {}) => {
    const service = new Hono().use(...pieces).route('/', createApp({ signaller: { terminate: sent } }))
    const init = { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: '{"pid":7}' }
    const bindings = { incoming: { headers }, outgoing: { setHeader: expect.unreachable } }
    const response = await service.request(KILL_PATH, init, bindings)
    return { headers: response.headers, id: JSON.parse(lines.at(-1) ?? '').id }
  }

  const orders: [order: string, pieces: (ids: MiddlewareHandler) => MiddlewareHandler[]][] = [
    ['in front of the record', (ids) => [ids, record]],
    ['behind the record', (ids) => [record, ids]],
  ]

  describe.each(orders)('with a requestId() %s', (_order, pieces) => {
    test('is the one of that, also in the response', async () => {
      const { id, headers } = await ask(pieces(requestId({ generator: () => 'of-the-host' })))
      expect(id).toBe('of-the-host')
      expect(headers.get('x-request-id')).toBe('of-the-host')
    })

    test('is the one of the header that the host trusts', async () => {
      const ids = requestId({ headerName: 'X-Correlation-Id' })
      const { id, headers } = await ask(pieces(ids), { 'x-correlation-id': 'from-the-proxy', 'x-request-id': 'forged' })
      expect(id).toBe('from-the-proxy')
      expect(headers.get('x-correlation-id')).toBe('from-the-proxy')
      expect(headers.get('x-request-id')).toBe('from-the-proxy')
    })
  })

  test('is known to the host', async () => {
    let known: string | undefined
    const look: MiddlewareHandler = (c, next) => {
      known = c.get('requestId')
      return next()
    }
    const { id } = await ask([record, look])
    expect(known).toBe(id)
  })

  let seen: string | null | undefined
  const change =
    (value?: string): MiddlewareHandler =>
    async (c, next) => {
      await next()
      seen = c.res.headers.get('x-request-id')
      c.header('X-Request-Id', value)
    }

  test('is in a header that the host sees, can change and can delete, as any of Hono', async () => {
    for (const pieces of [
      [change('changed'), record],
      [record, change('changed')],
    ]) {
      const { id, headers } = await ask(pieces)
      expect(seen).toBe(id)
      expect(headers.get('x-request-id')).toBe('changed')
    }
    expect((await ask([record, change()])).headers.has('x-request-id')).toBe(false)
  })

  test('does not come back into a header that the host has changed, by its own requestId()', async () => {
    const ids = requestId({ headerName: '', generator: () => 'of-the-host' })
    const { id, headers } = await ask([record, change('changed'), ids])
    expect([id, headers.get('x-request-id')]).toEqual(['of-the-host', 'changed'])
  })
})
