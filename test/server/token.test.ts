import { Hono } from 'hono'
import { expect, onTestFinished, test, vi } from 'vitest'
import { requireToken, type Tokens } from '../../src/server/token.ts'
import { refusal, told } from '../support/post.ts'
import { TOKEN } from '../support/server.ts'

const MISSING = refusal(401, 'Unauthorized', 'token missing')
const UNKNOWN = refusal(401, 'Unauthorized', 'token unknown')
const calledBy = (name?: string) => [200, JSON.stringify({ caller: name }), null]

/** Asks a service behind the guard, which answers who calls. A refusal must say how to do it. */
const ask = async (tokens: Tokens, authorization?: string) => {
  const service = new Hono().use(requireToken(tokens)).all('*', (c) => c.json({ caller: c.get('killCaller') }))
  const response = await service.request('/', { headers: authorization === undefined ? {} : { authorization } })
  expect(response.headers.get('www-authenticate')).toBe(response.ok ? null : 'Bearer')
  return told(response)
}

test.each([`Bearer ${TOKEN}`, `bearer   ${TOKEN} `, `BEARER ${TOKEN}`])('%s passes', async (authorization) => {
  expect(await ask(TOKEN, authorization)).toEqual(calledBy())
})

test.each([
  ...[undefined, '', 'Bearer', 'Bearer ', `Bearer ${TOKEN}x`, `Bearer x${TOKEN}`, `Bearer ${TOKEN.slice(0, -1)}`],
  ...[`Bearer ${TOKEN.toUpperCase()}`, TOKEN, `Basic ${TOKEN}`, `x Bearer ${TOKEN}`, `Bearer=${TOKEN}`],
  ...[`Bearer ${TOKEN} ${TOKEN}`, `Bearer "${TOKEN}"`, `Bearer ${TOKEN}, Bearer x`, 'Bearer *', 'Bearer undefined'],
  ...['Bearer ünicode', `Bearer ${'x'.repeat(10_000)}`],
])('%j is a 401', async (authorization) => {
  expect(await ask(TOKEN, authorization)).toEqual(authorization === undefined ? MISSING : UNKNOWN)
})

test.each(['a'.repeat(16), 'AZaz09-._~+/AZaz09', 'dG9rZW4gaW4gYmFzZTY0=='])('%s can be a token', async (token) => {
  expect(await ask(token, `Bearer ${token}`)).toEqual(calledBy())
})

test.each<Tokens>([
  ...['', 'a'.repeat(15), 'with a space in it', 'mid=dle-of-the-token', 'ünicode-in-the-token', `${TOKEN}\n`],
  ...[{}, { alice: TOKEN, bob: TOKEN }, { 'a:b': TOKEN }, { ['a'.repeat(65)]: TOKEN }, { alice: TOKEN, bob: 'short' }],
])('%j cannot: a TypeError that does not repeat a token', (tokens) => {
  expect(() => requireToken(tokens)).toThrow(TypeError)
  expect(() => requireToken(tokens)).toThrow(/^(Pass at least one token|A token must|A name must)/)
  for (const token of [tokens].flatMap((each) => (typeof each === 'string' ? each : Object.values(each))))
    if (token) expect(() => requireToken(tokens)).not.toThrow(token)
})

test('tokens with names tell who calls', async () => {
  const [bob, proto] = ['the-token-of-bob..', 'the-token-of-proto']
  const withToken = (token: string) => ask({ 'bob.smith_2-x': bob, ['__proto__']: proto }, `Bearer ${token}`)
  expect(await withToken(bob)).toEqual(calledBy('bob.smith_2-x'))
  expect(await withToken(proto)).toEqual(calledBy('__proto__'))
  for (const token of ['bob.smith_2-x', `bob.smith_2-x:${bob}`, 'the-token-of-carol'])
    expect(await withToken(token)).toEqual(UNKNOWN)
})

test('without Web Crypto nobody gets in', async () => {
  onTestFinished(() => void vi.unstubAllGlobals())
  vi.stubGlobal('crypto', undefined)
  expect(await ask(TOKEN, `Bearer ${TOKEN}`)).toEqual(UNKNOWN)
})
