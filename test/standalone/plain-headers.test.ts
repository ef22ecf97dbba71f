import type { Context } from 'hono'
import { expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/contract.ts'
import { createServerApp } from '../../src/server/index.ts'
import { plainHeaders } from '../../src/standalone/plain-headers.ts'
import { TOKEN } from '../support/server.ts'

const ORIGIN = 'https://tools.example'

/** A server whose every request has the id `1`. */
const serverWith = (prepare: (c: Context) => void) =>
  createServerApp({
    signaller: { supports: ['waitMs'], terminate: () => ({ code: 'too many waits' }) },
    log: { write: () => {} },
    hosts: ['localhost'],
    origins: [ORIGIN],
    token: TOKEN,
    prepare: (c) => {
      prepare(c)
      c.set('requestId', '1')
    },
  })

const good = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }
test.each<[what: string, headers: Record<string, string>, init?: { path?: string; method?: string; body?: string }]>([
  ['a kill', good],
  ['a wait too many, with Retry-After', good, { body: '{"pid":1234,"waitMs":1}' }],
  ['a kill without a token, with WWW-Authenticate', {}],
  ['a kill of an allowed page, with CORS', { ...good, origin: ORIGIN }],
  ['its preflight', { origin: ORIGIN }, { method: 'OPTIONS', body: '' }],
  ['a kill of another page', { ...good, origin: 'https://evil.example' }],
  ['another method', good, { method: 'PUT' }],
  ['another path', good, { path: '/elsewhere' }],
])('headers in a plain object make no difference to %s', async (_what, headers, init = {}) => {
  const { path = KILL_PATH, method = 'POST', body = '{"pid":1234}' } = init
  const answerOf = async (prepare: (c: Context) => void) => {
    const response = await serverWith(prepare).request(path, { method, headers, body })
    return { status: response.status, body: await response.text(), headers: Object.fromEntries(response.headers) }
  }
  const answer = await answerOf(plainHeaders)
  expect(answer).toEqual(await answerOf(() => {}))
  expect(answer.headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
})
