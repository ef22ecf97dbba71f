import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import { allowOrigins } from '../../src/server/origins.ts'
import { behind, PASSED } from '../support/behind.ts'

describe('allowOrigins', () => {
  const REFUSED = { status: 403, body: '{"error":"Origin not allowed"}' }
  const ask = behind(allowOrigins(['https://tools.example', 'http://localhost:5173']))
  const corsHeaders = (headers: Headers) => [...headers.keys()].filter((name) => name.startsWith('access-control-'))

  test('passes programs, which send no Origin, without CORS headers', async () => {
    const answer = await ask()
    expect(answer).toMatchObject(PASSED)
    expect(corsHeaders(answer.headers)).toEqual([])
  })

  test('passes its own pages without CORS headers', async () => {
    for (const site of ['same-origin', 'none']) {
      const answer = await ask({ origin: 'http://localhost:3000', 'sec-fetch-site': site })
      expect(answer).toMatchObject(PASSED)
      expect(corsHeaders(answer.headers)).toEqual([])
    }
  })

  test.each([
    ...[
      'http://evil.example',
      'https://evil.example',
      'null',
      '',
      'http://localhost',
      'http://localhost:3001',
      'https://localhost:3000',
    ],
    ...[
      'http://127.0.0.1:3000',
      'http://localhost:3000/',
      'http://localhost:3000.evil.example',
      'HTTP://LOCALHOST:3000',
      'file://',
    ],
    ...[
      'http://tools.example',
      'https://tools.example:444',
      'https://tools.example.evil.example',
      'https://x.tools.example',
      '*',
    ],
    ...[
      'http://localhost:3000, http://evil.example',
      'https://tools.example, http://evil.example',
      'chrome-extension://abc',
    ],
  ])('refuses the pages of %j, without CORS headers', async (origin) => {
    for (const method of ['POST', 'GET', 'OPTIONS']) {
      const answer = await ask({ origin, 'access-control-request-method': 'POST' }, { method })
      expect(answer).toMatchObject(REFUSED)
      expect(corsHeaders(answer.headers)).toEqual([])
      expect(answer.headers.get('content-type')).toBe('application/json')
    }
  })

  test('refuses by Sec-Fetch-Site what carries no Origin, or its own', async () => {
    expect(await ask({ 'sec-fetch-site': 'cross-site' })).toMatchObject(REFUSED)
    expect(await ask({ 'sec-fetch-site': 'cross-site', origin: 'http://localhost:3000' })).toMatchObject(REFUSED)
    expect(await ask({ 'sec-fetch-site': 'same-origin' })).toMatchObject(PASSED)
    expect(await ask({ 'sec-fetch-site': 'none' })).toMatchObject(PASSED)
  })

  test.each(['https://tools.example', 'http://localhost:5173'])(
    'passes the pages of %s with CORS, without credentials',
    async (origin) => {
      const { headers, ...answer } = await ask({ origin, 'sec-fetch-site': 'cross-site' })
      expect(answer).toMatchObject(PASSED)
      expect(headers.get('access-control-allow-origin')).toBe(origin)
      expect(headers.get('access-control-expose-headers')).toBe('X-Request-Id')
      expect(headers.get('vary')).toBe('Origin')
      expect(headers.has('access-control-allow-credentials')).toBe(false)
    },
  )

  test('answers their preflight', async () => {
    const preflight = {
      origin: 'https://tools.example',
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type',
    }
    const { status, body, headers } = await ask(preflight, { method: 'OPTIONS' })
    expect({ status, body }).toEqual({ status: 204, body: '' })
    expect(headers.get('access-control-allow-origin')).toBe('https://tools.example')
    expect(headers.get('access-control-allow-methods')).toBe('POST')
    expect(headers.get('access-control-allow-headers')).toBe('Authorization,Content-Type')
    expect(headers.has('access-control-allow-credentials')).toBe(false)
  })

  test('knows its own origin by the address that was asked', async () => {
    const url = 'https://kill.example/api'
    expect(await ask({ origin: 'https://kill.example' }, { url })).toMatchObject(PASSED)
    expect(await ask({ origin: 'http://kill.example' }, { url })).toMatchObject(REFUSED)
  })

  test('goes by Host where the URL names another host', async () => {
    const absolute = { url: 'http://evil.example/' }
    expect(await ask({ host: 'localhost', origin: 'http://evil.example' }, absolute)).toMatchObject(REFUSED)
    expect(await ask({ host: 'localhost:3000', origin: 'http://localhost:3000' }, absolute)).toMatchObject(PASSED)
  })

  test.each([
    ['localhost:80', 'http://localhost', PASSED],
    ['localhost:80', 'http://localhost:80', REFUSED],
    ['LocalHost:3000', 'http://localhost:3000', PASSED],
    ['localhost:443', 'http://localhost', REFUSED],
    ['256.256.256.256', 'http://256.256.256.256', REFUSED],
    ['a.1', 'http://a.1', REFUSED],
    ['xn--a', 'http://xn--a', REFUSED],
    ['256.256.256.256', 'http://localhost', REFUSED],
    ['localhost', 'http://localhost/', REFUSED],
    ['localhost', 'http://user@localhost', REFUSED],
    ['', 'http://', REFUSED],
  ])('of Host %j the page %s', async (host, origin, answer) => {
    expect(await ask({ host, origin })).toMatchObject(answer)
  })

  test('allows no other origin by default', async () => {
    const closed = behind(allowOrigins())
    expect(await closed({ origin: 'https://tools.example' })).toMatchObject(REFUSED)
    expect(await closed({ origin: 'http://localhost:3000' })).toMatchObject(PASSED)
  })

  test('returns its answers, so that a handler may ask it', async () => {
    const guard = allowOrigins(['https://tools.example'])
    const service = new Hono().all('/', async (c) => (await guard(c, async () => {})) ?? c.text('passed'))
    const statusFor = async (origin: string, method = 'POST') =>
      (await service.request('/', { method, headers: { origin } })).status
    expect(await statusFor('https://evil.example')).toBe(403)
    expect(await statusFor('https://tools.example', 'OPTIONS')).toBe(204)
    expect(await statusFor('http://localhost')).toBe(200)
  })

  test('goes by the list as it was, and takes no Origin for none', async () => {
    const origins = ['https://tools.example', '']
    const ask = behind(allowOrigins(origins))
    origins.length = 0
    expect((await ask({ origin: 'https://tools.example' })).headers.has('access-control-allow-origin')).toBe(true)
    expect(corsHeaders((await ask({}, { method: 'OPTIONS' })).headers)).toEqual([])
  })
})
