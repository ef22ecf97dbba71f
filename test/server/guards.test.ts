import { Hono, type MiddlewareHandler } from 'hono'
import { describe, expect, test } from 'vitest'
import { allowHosts, allowOrigins, allowProxy } from '../../src/server/guards.ts'

type Headers = Record<string, string>
type Asked = { url?: string; method?: string; env?: object }

/** Asks a service behind a guard. The answer ends with its reason, and the detail that goes to the record. */
const behind = (guard: MiddlewareHandler) => {
  let detail: string | undefined
  const service = new Hono()
    .use(async (c, next) => {
      await next()
      detail = c.get('killAttempt')?.detail
    })
    .use(guard)
    .all('*', (c) => c.json('passed'))
  return async (sent: Headers = {}, { url = 'http://localhost:3000/', method = 'POST', env }: Asked = {}) => {
    const response = await service.request(url, { method, headers: sent }, env)
    const { status, headers } = response
    const cors = Array.from(headers, (header) => header.join(': ')).filter((line) =>
      /^(access-control|vary)/.test(line),
    )
    const answer = [status, await response.text(), headers.get('psys-kill-reason'), detail]
    return { answer, cors: cors.map((line) => line.replace('access-control-', '')) }
  }
}

const PASSED = { answer: [200, '"passed"', null, undefined], cors: [] }
const refused = (what: string, reason: string, detail?: string) => {
  return { answer: [403, JSON.stringify({ error: `${what} not allowed` }), reason, detail], cors: [] }
}

describe('allowHosts', () => {
  const ask = behind(allowHosts(['localhost', '127.0.0.1', '[::1]', 'tools.example']))
  const host = (name: string) => refused('Host', 'host', JSON.stringify(name))

  const OWN = ['localhost', 'localhost:3000', 'LocalHost:80', '127.0.0.1:65535', '[::1]', '[::1]:3000', 'localhost:']
  test.each(OWN)('passes %s', async (name) => expect(await ask({ host: name })).toEqual(PASSED))

  test.each([
    ...['', ':', ':3000', 'evil.example', 'evil.example:80', 'localhost.evil.example', 'evil-localhost', 'localhost.'],
    ...['127.0.0.10', '127.1', '2130706433', '0.0.0.0', '::1', '[::1', '[::1]x', '[::2]', '[::ffff:127.0.0.1]'],
    ...['localhost:80:80', 'localhost:x', 'user@localhost', 'localhost, evil.example', 'evil.example, localhost'],
  ])('refuses %j', async (name) => expect(await ask({ host: name })).toEqual(host(name)))

  test.each([
    [{}, 'https://tools.example/', PASSED],
    [{}, 'http://evil.example:80/', host('evil.example')],
    [{ host: 'localhost' }, 'http://127.0.0.1/', PASSED],
    [{ host: 'localhost' }, 'http://evil.example/', host('evil.example')],
    [{ host: 'evil.example' }, 'http://localhost/', host('evil.example')],
  ] as [Headers, string, unknown][])('of %j at %s looks at both names', async (headers, url, answer) => {
    expect(await ask(headers, { url })).toEqual(answer)
  })

  test('refuses a part of the name if the list is a text by mistake', async () => {
    // @ts-expect-error: JavaScript lets it through.
    const guarded = behind(allowHosts('tools.example'))
    for (const name of ['tools', 'example', 'tools.example']) expect(await guarded({ host: name })).toEqual(host(name))
  })
})

describe('allowProxy', () => {
  const TRACES = ['Forwarded', 'X-Forwarded-For', 'X-Forwarded-Proto', 'X-FORWARDED-PREFIX', 'X-Real-IP', 'Via']
  test.each(TRACES)('refuses a request with %s, unless proxies are allowed', async (name) => {
    const proxy = refused('Proxy', 'proxy', name.toLowerCase())
    expect(await behind(allowProxy())({ [name]: 'a' })).toEqual(proxy)
    expect(await behind(allowProxy(false))({ [name]: '' })).toEqual(proxy)
    expect(await behind(allowProxy(true))({ [name]: 'a' })).toEqual(PASSED)
  })

  test.each([
    [['Host', 'a', 'VIA', '1.1 proxy'], 'via'],
    [['Host', 'via', 'From', 'x-real-ip'], undefined],
    [['X-Via', 'a', 'Forward', 'a', 'X-Forwarded', 'a', 'Viaduct', 'a'], undefined],
  ])('on Node looks at the headers as they came: in %j it finds %s', async (rawHeaders, found) => {
    // Not at these, because it would take long to make them.
    const answer = await behind(allowProxy())({ 'X-Real-IP': 'a' }, { env: { incoming: { rawHeaders } } })
    expect(answer).toEqual(found === undefined ? PASSED : refused('Proxy', 'proxy', found))
  })
})

describe('allowOrigins', () => {
  const ORIGINS = ['https://tools.example', 'http://localhost:5173']
  const ask = behind(allowOrigins(ORIGINS))
  const origin = (name: string) => refused('Origin', 'origin', JSON.stringify(name))
  const CROSS_SITE = refused('Origin', 'cross-site')
  const HERE = 'http://localhost:3000/'

  // If URL and Host differ, the browser's origin follows Host.
  test.each<[Headers, string, unknown]>([
    [{}, HERE, PASSED],
    [{ 'sec-fetch-site': 'same-origin' }, HERE, PASSED],
    [{ 'sec-fetch-site': 'none', origin: 'http://localhost:3000' }, HERE, PASSED],
    [{ 'sec-fetch-site': 'cross-site' }, HERE, CROSS_SITE],
    [{ 'sec-fetch-site': 'cross-site', origin: 'http://localhost:3000' }, HERE, CROSS_SITE],
    [{ origin: 'https://kill.example' }, 'https://kill.example/api', PASSED],
    [{ origin: 'http://kill.example' }, 'https://kill.example/api', origin('http://kill.example')],
    [{ host: 'localhost', origin: 'http://evil.example' }, 'http://evil.example/', origin('http://evil.example')],
    [{ host: 'localhost:3000', origin: 'http://localhost:3000' }, 'http://evil.example/', PASSED],
    [{ host: 'localhost:80', origin: 'http://localhost' }, HERE, PASSED],
    [{ host: 'localhost:80', origin: 'http://localhost:80' }, HERE, origin('http://localhost:80')],
    [{ host: 'LocalHost:3000', origin: 'http://localhost:3000' }, 'http://localhost/', PASSED],
    [{ host: '256.256.256.256', origin: 'http://256.256.256.256' }, HERE, origin('http://256.256.256.256')],
    [{ host: 'localhost', origin: 'http://user@localhost' }, HERE, origin('http://user@localhost')],
    [{ host: '', origin: 'http://' }, HERE, origin('http://')],
  ])('of programs and its own pages, without CORS headers: %j at %s is %j', async (headers, url, answer) => {
    expect(await ask(headers, { url })).toEqual(answer)
  })

  test.each([
    ...['http://evil.example', 'null', '', 'http://localhost', 'http://localhost:3001', 'https://localhost:3000'],
    ...['http://127.0.0.1:3000', 'http://localhost:3000/', 'http://localhost:3000.evil.example', 'file://', '*'],
    ...['HTTP://LOCALHOST:3000', 'http://tools.example', 'https://tools.example:444', 'https://x.tools.example'],
    ...['http://localhost:3000, http://evil.example', 'https://tools.example, http://evil.example'],
  ])('refuses the pages of %j, without CORS headers', async (name) => {
    const preflight = { origin: name, 'access-control-request-method': 'POST' }
    for (const method of ['POST', 'GET', 'OPTIONS']) expect(await ask(preflight, { method })).toEqual(origin(name))
  })

  test.each(ORIGINS)('passes the pages of %s with CORS, without credentials', async (name) => {
    const page = { origin: name, 'sec-fetch-site': 'cross-site', 'access-control-request-method': 'POST' }
    const readable = [`allow-origin: ${name}`, 'expose-headers: X-Request-Id,Psys-Kill-Reason']
    expect(await ask(page)).toEqual({ ...PASSED, cors: [...readable, 'vary: Origin'] })
    const permitted = ['allow-headers: Authorization,Content-Type', 'allow-methods: POST']
    const cors = [...permitted, ...readable, 'vary: Origin, Access-Control-Request-Headers']
    expect(await ask(page, { method: 'OPTIONS' })).toEqual({ answer: [204, '', null, undefined], cors })
  })

  test('allows no other origin by default, and takes no Origin for the empty one', async () => {
    const page = { origin: 'https://tools.example' }
    expect(await behind(allowOrigins())(page)).toEqual(origin('https://tools.example'))
    expect(await behind(allowOrigins(['']))({}, { method: 'OPTIONS' })).toEqual(PASSED)
  })
})
