import { createHash } from 'node:crypto'
import { Hono, type MiddlewareHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'
import { describe, expect, test, vi } from 'vitest'
import { allowHosts, allowOrigins, requireToken } from '../src/guards.ts'

const TOKEN = 'correct-horse-battery-staple'

const behind = (guard: MiddlewareHandler) => {
  const service = new Hono().use(guard).all('*', (c) => c.json('passed'))
  service.onError((error, c) => (error instanceof HTTPException ? error.getResponse() : c.text(String(error), 500)))
  return async (headers: Record<string, string> = {}, { url = 'http://localhost:3000/', method = 'POST' } = {}) => {
    const response = await service.request(url, { method, headers })
    return { status: response.status, body: await response.text(), headers: response.headers }
  }
}

const PASSED = { status: 200, body: '"passed"' }

describe('allowHosts', () => {
  const ask = behind(allowHosts(['localhost', '127.0.0.1', '[::1]', 'tools.example']))

  test.each([
    'localhost',
    'localhost:3000',
    'LocalHost:80',
    '127.0.0.1',
    '127.0.0.1:65535',
    '[::1]',
    '[::1]:3000',
    'tools.example',
    'TOOLS.example:1',
    'localhost:',
  ])('passes %s', async (host) => expect(await ask({ host })).toMatchObject(PASSED))

  test.each([
    ...[
      '',
      ':',
      ':3000',
      'evil.example',
      'evil.example:3000',
      'localhost.evil.example',
      'evil-localhost',
      'localhost.',
    ],
    ...[
      '127.0.0.10',
      '127.0.0.1.evil.example',
      '127.1',
      '2130706433',
      '::1',
      '[::1',
      '[::1]x',
      '[::2]',
      '[::ffff:127.0.0.1]',
    ],
    ...[
      'localhost:80:80',
      'localhost:x',
      'user@localhost',
      'localhost, evil.example',
      'evil.example, localhost',
      '0.0.0.0',
    ],
  ])('refuses %j', async (host) => {
    const answer = await ask({ host })
    expect(answer).toMatchObject({ status: 403, body: '{"error":"Host not allowed"}' })
    expect(answer.headers.get('content-type')).toBe('application/json')
  })

  test('refuses a request without a Host', async () => {
    expect(await ask()).toMatchObject({ status: 403, body: '{"error":"Host not allowed"}' })
  })
})

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

  test('allows no other origin by default', async () => {
    const closed = behind(allowOrigins())
    expect(await closed({ origin: 'https://tools.example' })).toMatchObject(REFUSED)
    expect(await closed({ origin: 'http://localhost:3000' })).toMatchObject(PASSED)
  })
})

describe('requireToken', () => {
  const ask = behind(requireToken(TOKEN))

  test('passes the token', async () => {
    expect(await ask({ authorization: `Bearer ${TOKEN}` })).toMatchObject(PASSED)
  })

  test.each([
    ...[
      '',
      'Bearer',
      'Bearer ',
      `Bearer ${TOKEN}x`,
      `Bearer x${TOKEN}`,
      `Bearer ${TOKEN.slice(0, -1)}`,
      `Bearer ${TOKEN.toUpperCase()}`,
    ],
    ...[
      TOKEN,
      `Basic ${TOKEN}`,
      `Basic ${btoa(`:${TOKEN}`)}`,
      `Token ${TOKEN}`,
      `Bearer ${TOKEN} ${TOKEN}`,
      `Bearer "${TOKEN}"`,
    ],
    ...[
      `Bearer=${TOKEN}`,
      `Bearer ${TOKEN}, Bearer x`,
      'Bearer *',
      'Bearer undefined',
      'Bearer ünicode',
      `Bearer ${'x'.repeat(10_000)}`,
    ],
  ])('refuses %j with 401 and how to do it', async (authorization) => {
    const answer = await ask({ authorization })
    expect(answer).toMatchObject({ status: 401, body: '{"error":"Unauthorized"}' })
    expect(answer.headers.get('www-authenticate')).toBe('Bearer')
    expect(answer.headers.get('content-type')).toBe('application/json')
  })

  test('refuses a request without Authorization the same way', async () => {
    const answer = await ask()
    expect(answer).toMatchObject({ status: 401, body: '{"error":"Unauthorized"}' })
    expect(answer.headers.get('www-authenticate')).toBe('Bearer')
  })

  test('compares what the given function makes of the tokens', async () => {
    const hashFunction = vi.fn((text: string) => createHash('sha256').update(text).digest('hex'))
    const hashed = behind(requireToken(TOKEN, { hashFunction }))
    expect(await hashed({ authorization: `Bearer ${TOKEN}` })).toMatchObject(PASSED)
    expect(await hashed({ authorization: `Bearer ${TOKEN}x` })).toMatchObject({ status: 401 })
    expect(hashFunction).toHaveBeenCalledWith(`${TOKEN}x`)
  })

  test.each(['a'.repeat(16), 'AZaz09-._~+/AZaz09', 'dG9rZW4gaW4gYmFzZTY0=='])('takes %s for a token', async (token) => {
    const guarded = behind(requireToken(token))
    expect(await guarded({ authorization: `Bearer ${token}` })).toMatchObject(PASSED)
    expect(await guarded({ authorization: `Bearer ${TOKEN}` })).toMatchObject({ status: 401 })
  })

  test.each([
    '',
    'short',
    'a'.repeat(15),
    'with a space in it',
    'mid=dle-of-the-token',
    'ünicode-in-the-token',
    `${TOKEN}\n`,
  ])('throws for %j, which no request could match or anybody could guess, without repeating it', (token) => {
    expect(() => requireToken(token)).toThrow(TypeError)
    if (token) expect(() => requireToken(token)).not.toThrow(token)
  })
})
