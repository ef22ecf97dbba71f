import { createHash } from 'node:crypto'
import { Hono } from 'hono'
import { describe, expect, test, vi } from 'vitest'
import { requireToken } from '../../src/server/token.ts'
import { behind, PASSED } from '../support/behind.ts'

const TOKEN = 'correct-horse-battery-staple'

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
    expect(hashFunction).toHaveBeenLastCalledWith(`${TOKEN}x`)
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
    expect(() => requireToken(token)).toThrow('no bearer token of 16 characters')
    if (token) expect(() => requireToken(token)).not.toThrow(token)
  })
})

describe('requireToken with names', () => {
  const tokens = {
    alice: 'the-token-of-alice',
    'bob.smith_2-x': 'the-token-of-bob..',
    ['__proto__']: 'the-token-of-proto',
  }
  const service = new Hono().use(requireToken(tokens)).all('*', (c) => c.json(c.get('killCaller') ?? null))
  const callerOf = async (token: string, app = service) => {
    const response = await app.request('/', { headers: { authorization: `Bearer ${token}` } })
    return response.status === 200 ? response.json() : response.status
  }

  test('tells whose token came', async () => {
    for (const [name, token] of Object.entries(tokens)) expect(await callerOf(token)).toBe(name)
  })

  test.each(['alice', 'alice:the-token-of-alice', 'the-token-of-alice,the-token-of-bob..', 'the-token-of-carol'])(
    'refuses %s',
    async (token) => expect(await callerOf(token)).toBe(401),
  )

  test('leaves the caller alone where the token has no name', async () => {
    const app = new Hono()
      .use(async (c, next) => {
        c.set('killCaller', 'somebody')
        await next()
      })
      .use(requireToken(TOKEN))
      .all('*', (c) => c.json(c.get('killCaller') ?? null))
    expect(await callerOf(TOKEN, app)).toBe('somebody')
  })

  test('hashes what came once, however many tokens there are', async () => {
    const hashFunction = vi.fn((text: string) => createHash('sha256').update(text).digest('hex'))
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`name${i}`, `${TOKEN}-${i}`]))
    const app = new Hono()
      .use(requireToken(many, { hashFunction }))
      .all('*', (c) => c.json(c.get('killCaller') ?? null))
    expect(await callerOf(`${TOKEN}-0`, app)).toBe('name0')
    hashFunction.mockClear()
    expect(await callerOf(`${TOKEN}-999`, app)).toBe('name999')
    expect(await callerOf(`${TOKEN}-1000`, app)).toBe(401)
    expect(hashFunction).toHaveBeenCalledTimes(2)
  })

  test.each([() => '', () => null, async () => null])(
    'a hash that tells nothing opens nothing: %s',
    async (hashFunction) => {
      const app = new Hono().use(requireToken(tokens, { hashFunction })).all('*', (c) => c.json(true))
      expect(await callerOf('the-token-of-nobody', app)).toBe(401)
    },
  )

  test('a hash that fails is no refusal', async () => {
    const hashFunction = () => {
      throw new Error('no hash')
    }
    const app = new Hono().use(requireToken(tokens, { hashFunction })).all('*', (c) => c.json(true))
    app.onError((error, c) => c.text(error.message, 500))
    expect(await callerOf('the-token-of-alice', app)).toBe(500)
  })

  test.each<[what: string, tokens: Record<string, string>]>([
    ['no token', {}],
    ['the same token twice', { alice: TOKEN, bob: TOKEN }],
    ['a name with a colon', { 'a:b': TOKEN }],
    ['a name of 65 characters', { ['a'.repeat(65)]: TOKEN }],
    ['a name with a space', { 'a b': TOKEN }],
    ['a short token', { alice: TOKEN, bob: 'short' }],
  ])('throws for %s, without repeating a token', (_what, wrong) => {
    expect(() => requireToken(wrong)).toThrow(TypeError)
    expect(() => requireToken(wrong)).not.toThrow(TOKEN)
  })
})
