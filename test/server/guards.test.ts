import { Hono, type MiddlewareHandler } from 'hono'
import { describe, expect, test } from 'vitest'
import { allowHosts, allowOrigins, allowProxy } from '../../src/server/guards.ts'

type Headers = Record<string, string>
type Asked = { url?: string; method?: string; env?: object }

/** Asks a service behind a guard. `said` is the body, and the detail that goes to the record. */
const behind = (guard: MiddlewareHandler) => {
  let detail: string | undefined
  const service = new Hono()
    .use(async (c, next) => {
      await next()
      detail = c.get('killAttempt')?.detail
    })
    .use(guard)
    .all('*', (c) => c.json('passed'))
  return async (headers: Headers = {}, { url = 'http://localhost:3000/', method = 'POST', env }: Asked = {}) => {
    detail = undefined
    const response = await service.request(url, { method, headers }, env)
    const said = [response.status, await response.text(), response.headers.get('psys-kill-reason'), detail]
    return { said, headers: response.headers }
  }
}

const PASSED = [200, '"passed"', null, undefined]
const refused = (what: string, reason: string, detail?: string) => {
  return [403, JSON.stringify({ error: `${what} not allowed` }), reason, detail]
}

describe('allowHosts', () => {
  const ask = behind(allowHosts(['localhost', '127.0.0.1', '[::1]', 'tools.example']))
  const host = (name: string) => refused('Host', 'host', JSON.stringify(name))

  const OWN = ['localhost', 'localhost:3000', 'LocalHost:80', '127.0.0.1:65535', '[::1]', '[::1]:3000', 'localhost:']
  test.each(OWN)('passes %s', async (name) => expect((await ask({ host: name })).said).toEqual(PASSED))

  test.each([
    ...['', ':', ':3000', 'evil.example', 'evil.example:80', 'localhost.evil.example', 'evil-localhost', 'localhost.'],
    ...['127.0.0.10', '127.1', '2130706433', '0.0.0.0', '::1', '[::1', '[::1]x', '[::2]', '[::ffff:127.0.0.1]'],
    ...['localhost:80:80', 'localhost:x', 'user@localhost', 'localhost, evil.example', 'evil.example, localhost'],
  ])('refuses %j', async (name) => expect((await ask({ host: name })).said).toEqual(host(name)))

  test.each([
    [{}, 'https://tools.example/', PASSED],
    [{}, 'http://evil.example:80/', host('evil.example')],
    [{ host: 'localhost' }, 'http://127.0.0.1/', PASSED],
    [{ host: 'localhost' }, 'http://evil.example/', host('evil.example')],
    [{ host: 'evil.example' }, 'http://localhost/', host('evil.example')],
  ] as [Headers, string, unknown][])('of %j at %s looks at both names', async (headers, url, answer) => {
    expect((await ask(headers, { url })).said).toEqual(answer)
  })
})

describe('allowProxy', () => {
  const TRACES = ['Forwarded', 'X-Forwarded-For', 'X-Forwarded-Proto', 'X-FORWARDED-PREFIX', 'X-Real-IP', 'Via']
  test.each(TRACES)('refuses a request with %s, unless proxies are allowed', async (name) => {
    const proxy = refused('Proxy', 'proxy', name.toLowerCase())
    expect((await behind(allowProxy())({ [name]: 'a' })).said).toEqual(proxy)
    expect((await behind(allowProxy(false))({ [name]: '' })).said).toEqual(proxy)
    expect((await behind(allowProxy(true))({ [name]: 'a' })).said).toEqual(PASSED)
  })

  test.each(['X-Via', 'Forward', 'X-Forwarded', 'Viaduct'])('passes a request with %s', async (name) =>
    expect((await behind(allowProxy())({ [name]: 'via' })).said).toEqual(PASSED),
  )

  test.each([
    [['Host', 'a', 'VIA', '1.1 proxy'], 'via'],
    [['Host', 'via', 'From', 'x-real-ip'], undefined],
    [['Viaduct', 'a'], undefined],
  ])('on Node looks at the headers as they came: in %j it finds %s', async (rawHeaders, found) => {
    // Not at these, because it would take long to make them.
    const { said } = await behind(allowProxy())({ 'X-Real-IP': 'a' }, { env: { incoming: { rawHeaders } } })
    expect(said).toEqual(found === undefined ? PASSED : refused('Proxy', 'proxy', found))
  })
})

describe('allowOrigins', () => {
  const ORIGINS = ['https://tools.example', 'http://localhost:5173']
  const ask = behind(allowOrigins(ORIGINS))
  const origin = (name: string) => refused('Origin', 'origin', JSON.stringify(name))
  const CROSS_SITE = refused('Origin', 'cross-site')
  /** The CORS headers, by the word that tells them apart. */
  const cors = (headers: globalThis.Headers) => {
    const told = Array.from(headers, ([name, value]) => [/^access-control-(?:allow-)?(\w+)/.exec(name)?.[1], value])
    return Object.fromEntries(told.filter(([word]) => word !== undefined))
  }

  test.each<[Headers, unknown]>([
    [{}, PASSED],
    [{ 'sec-fetch-site': 'same-origin' }, PASSED],
    [{ 'sec-fetch-site': 'none', origin: 'http://localhost:3000' }, PASSED],
    [{ 'sec-fetch-site': 'cross-site' }, CROSS_SITE],
    [{ 'sec-fetch-site': 'cross-site', origin: 'http://localhost:3000' }, CROSS_SITE],
  ])('passes programs and its own pages, without CORS headers: %j', async (headers, answer) => {
    const asked = await ask(headers)
    expect(asked.said).toEqual(answer)
    expect(cors(asked.headers)).toEqual({})
  })

  test.each([
    ...['http://evil.example', 'null', '', 'http://localhost', 'http://localhost:3001', 'https://localhost:3000'],
    ...['http://127.0.0.1:3000', 'http://localhost:3000/', 'http://localhost:3000.evil.example', 'file://', '*'],
    ...['HTTP://LOCALHOST:3000', 'http://tools.example', 'https://tools.example:444', 'https://x.tools.example'],
    ...['http://localhost:3000, http://evil.example', 'https://tools.example, http://evil.example'],
  ])('refuses the pages of %j, without CORS headers', async (name) => {
    for (const method of ['POST', 'GET', 'OPTIONS']) {
      const { said, headers } = await ask({ origin: name, 'access-control-request-method': 'POST' }, { method })
      expect(said).toEqual(origin(name))
      expect(cors(headers)).toEqual({})
    }
  })

  test.each(ORIGINS)('passes the pages of %s with CORS, without credentials', async (name) => {
    const asked = await ask({ origin: name, 'sec-fetch-site': 'cross-site' })
    expect(asked.said).toEqual(PASSED)
    expect(cors(asked.headers)).toEqual({ origin: name, expose: 'X-Request-Id,Psys-Kill-Reason' })
    expect(asked.headers.get('vary')).toBe('Origin')
    const preflight = { origin: name, 'access-control-request-method': 'POST' }
    const { said, headers } = await ask(preflight, { method: 'OPTIONS' })
    expect(said).toEqual([204, '', null, undefined])
    const allowed = { origin: name, methods: 'POST', headers: 'Authorization,Content-Type' }
    expect(cors(headers)).toEqual({ ...allowed, expose: 'X-Request-Id,Psys-Kill-Reason' })
  })

  // If URL and Host differ, the browser's origin follows Host.
  test.each<[Headers, string, boolean]>([
    [{ origin: 'https://kill.example' }, 'https://kill.example/api', true],
    [{ origin: 'http://kill.example' }, 'https://kill.example/api', false],
    [{ host: 'localhost', origin: 'http://evil.example' }, 'http://evil.example/', false],
    [{ host: 'localhost:3000', origin: 'http://localhost:3000' }, 'http://evil.example/', true],
    [{ host: 'localhost:80', origin: 'http://localhost' }, 'http://localhost/', true],
    [{ host: 'localhost:80', origin: 'http://localhost:80' }, 'http://localhost/', false],
    [{ host: 'LocalHost:3000', origin: 'http://localhost:3000' }, 'http://localhost/', true],
    [{ host: '256.256.256.256', origin: 'http://256.256.256.256' }, 'http://localhost/', false],
    [{ host: 'localhost', origin: 'http://user@localhost' }, 'http://localhost/', false],
    [{ host: '', origin: 'http://' }, 'http://localhost/', false],
  ])('knows its own pages: %j at %s', async (headers, url, isOwn) => {
    expect((await ask(headers, { url })).said).toEqual(isOwn ? PASSED : origin(headers['origin'] ?? ''))
  })

  test('allows no other origin by default, and keeps the list as it was', async () => {
    expect((await behind(allowOrigins())({ origin: 'https://tools.example' })).said[0]).toBe(403)
    const origins = ['https://tools.example', '']
    const kept = behind(allowOrigins(origins))
    origins.length = 0
    expect((await kept({ origin: 'https://tools.example' })).said).toEqual(PASSED)
    // A request without Origin does not have the empty one.
    expect(cors((await kept({}, { method: 'OPTIONS' })).headers)).toEqual({})
  })
})
