import type { Context, MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { refuse } from '../app/attempt.ts'
import { incomingOf } from '../app/connection.ts'
import { REASON_HEADER, serverAnswers } from '../app/contract.ts'

/** Looks at a request. Returns the answer that refuses it, and sets `killAttempt`; undefined lets the request pass. */
export type Check = (c: Context) => Response | undefined

/** Makes a middleware of a check. `then` runs if the request passes. */
export const guard =
  (check: Check, then: MiddlewareHandler = (_c, next) => next()): MiddlewareHandler =>
  (c, next) => {
    const refusal = check(c)
    return refusal ? Promise.resolve(refusal) : then(c, next)
  }

/** The host and port in the URL of a request. `new URL` would throw for a Host such as 256.256.256.256. */
const authorityOf = (c: Context) => /^[^/]*\/\/([^/?#]*)/.exec(c.req.url)?.[1] ?? ''

/** Refuses a request whose Host or URL names a host that is not in the list. */
export const checkHost = (hosts: readonly string[]): Check => {
  const allowed = new Set(hosts)
  const isForeign = (authority: string) => !allowed.has(authority.replace(/:\d*$/, '').toLowerCase())
  return (c) => {
    const authority = authorityOf(c)
    const foreign = [c.req.header('host') ?? authority, authority].find(isForeign)
    return foreign === undefined ? undefined : refuse(c, serverAnswers.host, { detail: JSON.stringify(foreign) })
  }
}

/**
 * Answers 403 to a request that does not name one of the given hosts. This stops DNS rebinding: a web page whose own
 * host name resolves to 127.0.0.1.
 *
 * A request may name its host twice: in Host, and in the URL (`:authority` on HTTP/2, an absolute target on HTTP/1.1,
 * RFC 9112 section 3.2.2). Both must be allowed. Bun and workerd do not show the host of an absolute target.
 *
 * @param hosts - names or addresses without a port, in lower case, IPv6 in brackets. Any port is accepted.
 *
 * @example
 * ```ts
 * import { Hono } from 'hono'
 * import { allowHosts } from 'psys-kill/server'
 *
 * export const app = new Hono().use(allowHosts(['localhost', '127.0.0.1', '[::1]']))
 * ```
 */
export const allowHosts = (hosts: readonly string[]): MiddlewareHandler => guard(checkHost(hosts))

/** The headers that proxies add: Forwarded (RFC 7239), Via (RFC 9110, section 7.6.3), and their older equivalents. */
const PROXY_HEADER = /^(forwarded|via|x-real-ip|x-forwarded-.*)$/i

/** Refuses a request that came through a proxy. */
export const checkProxy: Check = (c) => {
  // On Node, read the raw headers: to list the names, the adapter would build a Headers object.
  const namesAndValues = incomingOf(c)?.rawHeaders ?? [...c.req.raw.headers].flat()
  const header = namesAndValues.find((name, index) => index % 2 === 0 && PROXY_HEADER.test(name))
  return header === undefined ? undefined : refuse(c, serverAnswers.proxy, { detail: header.toLowerCase() })
}

/**
 * Answers 403 to a request that came through a proxy, unless proxies are allowed. Use it in a service that accepts
 * everybody on loopback: a proxy on the same machine would let in everybody who can reach the proxy.
 *
 * @param allowed - whether the proxies in front authenticate. Default: false.
 *
 * @example
 * ```ts
 * import { Hono } from 'hono'
 * import { allowProxy } from 'psys-kill/server'
 *
 * export const app = new Hono().use(allowProxy(false))
 * ```
 */
export const allowProxy = (allowed = false): MiddlewareHandler => guard((c) => (allowed ? undefined : checkProxy(c)))

/** Whether the page comes from this server. If URL and Host differ, use Host, as browsers do for the origin. */
const isOwn = (origin: string, c: Context) => {
  const own = `${c.req.url.split('/')[0]}//${c.req.header('host') ?? authorityOf(c)}`
  return URL.canParse(own) && new URL(own).origin === origin
}

/** Refuses a request from a web page, unless the page has this server's origin or one of the given origins. */
export const checkOrigin = (origins: readonly string[]): Check => {
  const allowed = new Set(origins)
  return (c) => {
    const origin = c.req.header('origin')
    if (origin !== undefined && allowed.has(origin)) return undefined
    const row = serverAnswers.origin
    if (origin !== undefined && !isOwn(origin, c)) return refuse(c, row, { detail: JSON.stringify(origin) })
    return c.req.header('sec-fetch-site') === 'cross-site' ? refuse(c, row, { reason: 'cross-site' }) : undefined
  }
}

/** Answers with the CORS headers that let pages of the given origins call. */
export const allowCors = (origins: readonly string[]): MiddlewareHandler => {
  const addCors = cors({
    origin: [...origins],
    allowMethods: ['POST'],
    allowHeaders: ['Authorization', 'Content-Type'],
    exposeHeaders: ['X-Request-Id', REASON_HEADER],
  })
  const allowed = new Set<string | undefined>(origins)
  return (c, next) => (allowed.has(c.req.header('origin')) ? addCors(c, next) : next())
}

/**
 * Answers 403 to a request that a browser sends for a page of another origin. Another port or scheme is another origin.
 * Pages of the given origins may call (CORS, without credentials). Requests without Origin pass: programs send none.
 *
 * @param origins - as a browser sends them: `https://tools.example`, without a path. Default: none.
 *
 * @example
 * ```ts
 * import { Hono } from 'hono'
 * import { allowOrigins } from 'psys-kill/server'
 *
 * export const app = new Hono().use(allowOrigins(['https://tools.example']))
 * ```
 */
export const allowOrigins = (origins: readonly string[] = []): MiddlewareHandler =>
  guard(checkOrigin(origins), allowCors(origins))
