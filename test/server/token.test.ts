import { createHash } from 'node:crypto'
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
    expect(() => requireToken(token)).toThrow('no bearer token of 16 characters')
    if (token) expect(() => requireToken(token)).not.toThrow(token)
  })
})
