import { Hono } from 'hono'
import { expect, test, vi } from 'vitest'
import { requireToken, type Tokens } from '../../src/server/token.ts'
import { refusal, told } from '../support/post.ts'
import { TOKEN } from '../support/server.ts'

const MISSING = refusal(401, 'Unauthorized', 'token missing')
const UNKNOWN = refusal(401, 'Unauthorized', 'token unknown')
const calledBy = (name?: string) => [200, JSON.stringify({ caller: name }), null]

/** Asks a service behind the guard, which answers who calls. */
const behind = (tokens: Tokens) => {
  const service = new Hono().use(requireToken(tokens)).all('*', (c) => c.json({ caller: c.get('killCaller') }))
  const ask = (authorization?: string) =>
    service.request('/', { headers: authorization === undefined ? {} : { authorization } })
  return { ask, withToken: (token: string) => told(ask(`Bearer ${token}`)) }
}

test.each([`Bearer ${TOKEN}`, `bearer   ${TOKEN} `, `BEARER ${TOKEN}`])('%s passes', async (authorization) => {
  expect(await told(behind(TOKEN).ask(authorization))).toEqual(calledBy())
})

test.each([
  ...[undefined, '', 'Bearer', 'Bearer ', `Bearer ${TOKEN}x`, `Bearer x${TOKEN}`, `Bearer ${TOKEN.slice(0, -1)}`],
  ...[`Bearer ${TOKEN.toUpperCase()}`, TOKEN, `Basic ${TOKEN}`, `Basic ${btoa(`:${TOKEN}`)}`, `Bearer=${TOKEN}`],
  ...[`Bearer ${TOKEN} ${TOKEN}`, `Bearer "${TOKEN}"`, `Bearer ${TOKEN}, Bearer x`, 'Bearer *', 'Bearer undefined'],
  ...['Bearer ünicode', `Bearer ${'x'.repeat(10_000)}`],
])('%j is a 401 that says how to do it', async (authorization) => {
  const response = await behind(TOKEN).ask(authorization)
  expect(response.headers.get('www-authenticate')).toBe('Bearer')
  expect(await told(response)).toEqual(authorization === undefined ? MISSING : UNKNOWN)
})

test.each(['a'.repeat(16), 'AZaz09-._~+/AZaz09', 'dG9rZW4gaW4gYmFzZTY0=='])('%s can be a token', async (token) => {
  const { withToken } = behind(token)
  expect(await withToken(token)).toEqual(calledBy())
  expect(await withToken(TOKEN)).toEqual(UNKNOWN)
})

test.each<[what: string, tokens: Tokens]>([
  ...['', 'a'.repeat(15), 'with a space in it', 'mid=dle-of-the-token', 'ünicode-in-the-token', `${TOKEN}\n`].map(
    (token): [string, Tokens] => [JSON.stringify(token), token],
  ),
  ['no token', {}],
  ['the same token twice', { alice: TOKEN, bob: TOKEN }],
  ['a name with a colon', { 'a:b': TOKEN }],
  ['a name of 65 characters', { ['a'.repeat(65)]: TOKEN }],
  ['a short token beside another', { alice: TOKEN, bob: 'short' }],
])('%s cannot: a TypeError that does not repeat a token', (_what, tokens) => {
  expect(() => requireToken(tokens)).toThrow(TypeError)
  for (const token of [tokens].flatMap((each) => (typeof each === 'string' ? each : Object.values(each))))
    if (token) expect(() => requireToken(tokens)).not.toThrow(token)
})

test('tokens with names tell who calls', async () => {
  const [bob, proto] = ['the-token-of-bob..', 'the-token-of-proto']
  const { withToken } = behind({ 'bob.smith_2-x': bob, ['__proto__']: proto })
  expect(await withToken(bob)).toEqual(calledBy('bob.smith_2-x'))
  expect(await withToken(proto)).toEqual(calledBy('__proto__'))
  for (const token of ['bob.smith_2-x', `bob.smith_2-x:${bob}`, 'the-token-of-carol'])
    expect(await withToken(token)).toEqual(UNKNOWN)
})

test('without Web Crypto nobody gets in', async ({ onTestFinished }) => {
  vi.stubGlobal('crypto', undefined)
  onTestFinished(() => vi.unstubAllGlobals() && undefined)
  expect(await behind(TOKEN).withToken(TOKEN)).toEqual(UNKNOWN)
})
