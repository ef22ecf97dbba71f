import { Hono } from 'hono'
import { describe, expect, test } from 'vitest'
import { allowProxy } from '../../src/server/proxies.ts'
import { createServerApp } from '../../src/server/server-app.ts'
import { behind, PASSED } from '../support/behind.ts'
import { KILL } from '../support/post.ts'

const TOKEN = 'correct-horse-battery-staple'
const TRACES = {
  Forwarded: 'for=192.0.2.1',
  'X-Forwarded-For': '192.0.2.1',
  'X-Forwarded-Proto': 'https',
  'X-FORWARDED-PREFIX': '/a',
  'X-Real-IP': '192.0.2.1',
  Via: '1.1 proxy',
}
const REFUSED = { status: 403, body: '{"error":"Proxy not allowed"}' }

describe('allowProxy', () => {
  test.each(Object.entries(TRACES))('refuses a request with %s', async (name, value) => {
    expect(await behind(allowProxy())({ [name]: value })).toMatchObject(REFUSED)
    expect(await behind(allowProxy(false))({ [name]: '' })).toMatchObject(REFUSED)
  })

  test.each([
    {},
    { 'X-Via': 'a' },
    { Forward: 'a' },
    { 'X-Forwarded': 'a' },
    { From: 'x-forwarded-for' },
    { Viaduct: 'a' },
  ])('passes a request of a client of its own with %j', async (headers) =>
    expect(await behind(allowProxy())(headers)).toMatchObject(PASSED),
  )

  test.each(Object.entries(TRACES))('passes a request with %s where it is told to', async (name, value) =>
    expect(await behind(allowProxy(true))({ [name]: value })).toMatchObject(PASSED),
  )

  test.each([
    [['Host', 'a', 'VIA', '1.1 proxy'], 'via'],
    [['Via', 'a', 'Host', 'a'], 'via'],
    [['Host', 'via', 'From', 'x-real-ip'], undefined],
    [['Host', 'a', 'Viaduct', 'a'], undefined],
  ])('goes on Node by the headers as they came: of %j it finds %s', async (rawHeaders, reason) => {
    let found: string | undefined
    const service = new Hono().use(async (c, next) => {
      await next()
      found = c.get('killAttempt')?.reason
    }, allowProxy())
    // Not by these, which it would take long to make.
    await service.request('/', { headers: { 'X-Real-IP': 'a' } }, { incoming: { rawHeaders } })
    expect(found).toBe(reason)
  })

  test('tells the record which header it was', async () => {
    const service = new Hono().use(async (c, next) => {
      await next()
      c.header('reason', c.get('killAttempt')?.reason)
    })
    service.use(allowProxy())
    const response = await service.request('/', { headers: { 'X-Forwarded-For': '192.0.2.1' } })
    expect(response.headers.get('reason')).toBe('x-forwarded-for')
  })
})

describe('a server app behind a proxy', () => {
  const ask = async (options: { token?: string; allowProxy?: boolean }) => {
    const server = createServerApp({
      signaller: { terminate: () => ({ code: 'sent' }) },
      log: { write: () => {} },
      ...options,
    })
    const headers = { Via: '1.1 proxy', Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' }
    const response = await server.request(KILL, { method: 'POST', headers, body: '{"pid":1234}' })
    return response.status
  }

  test('refuses, unless it has a token or is told to allow it', async () => {
    expect(await ask({})).toBe(403)
    expect(await ask({ token: TOKEN })).toBe(200)
    expect(await ask({ allowProxy: true })).toBe(200)
    expect(await ask({ token: TOKEN, allowProxy: false })).toBe(403)
  })
})
