import type { Context } from 'hono'
import { describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { createServerApp } from '../../src/server/index.ts'
import { plainHeaders } from '../../src/standalone/plain-headers.ts'

const ORIGIN = 'https://tools.example'
const TOKEN = 'correct-horse-battery-staple'

/** A server whose every request has the id `1`, with or without the short cut. */
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
const requests: [
  what: string,
  path: string,
  init: { method?: string; headers: Record<string, string>; body?: string },
][] = [
  ['a kill', KILL_PATH, { headers: good, body: '{"pid":1234}' }],
  ['a wait too many, with Retry-After', KILL_PATH, { headers: good, body: '{"pid":1234,"waitMs":1}' }],
  ['one without a token, with WWW-Authenticate', KILL_PATH, { headers: {}, body: '{"pid":1234}' }],
  ['one of an allowed page, with CORS', KILL_PATH, { headers: { ...good, origin: ORIGIN }, body: '{"pid":0}' }],
  ['its preflight', KILL_PATH, { method: 'OPTIONS', headers: { origin: ORIGIN } }],
  ['one of another page', KILL_PATH, { headers: { ...good, origin: 'https://evil.example' }, body: '{"pid":1234}' }],
  ['another method', KILL_PATH, { method: 'GET', headers: good }],
  ['another path', '/elsewhere', { headers: good, body: '' }],
  ['the health check', '/healthz', { method: 'GET', headers: {} }],
]

describe('has the same answer with its headers in a plain object:', () => {
  test.each(requests)('%s', async (_what, path, init) => {
    const answerOf = async (prepare: (c: Context) => void) => {
      const response = await serverWith(prepare).request(path, { method: 'POST', ...init })
      return { status: response.status, body: await response.text(), headers: Object.fromEntries(response.headers) }
    }
    const answer = await answerOf(plainHeaders)
    expect(answer).toEqual(await answerOf(() => {}))
    expect(answer.headers).toMatchObject({ 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
  })
})
