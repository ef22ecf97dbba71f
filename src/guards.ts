import type { Context, MiddlewareHandler } from 'hono'
import { bearerAuth } from 'hono/bearer-auth'
import { cors } from 'hono/cors'
import { HTTPException } from 'hono/http-exception'
import { refusals } from './answers.ts'

/**
 * Answers 403 to a request whose Host names none of the given hosts, or that has no Host. It defends a server on
 * loopback against DNS rebinding, where a web page makes a name of its own resolve to 127.0.0.1.
 *
 * @param hosts - names or addresses without a port, in lower case, IPv6 in brackets; any port is accepted.
 *
 * @example
 * ```ts
 * app.use(allowHosts(['localhost', '127.0.0.1', '[::1]']))
 * ```
 */
export const allowHosts = (hosts: readonly string[]): MiddlewareHandler => {
  const allowed = new Set(hosts)
  // Not async, as each async function on the way costs every request a turn of the microtask queue.
  return (c, next) => {
    const host = c.req.header('host')?.replace(/:\d*$/, '').toLowerCase()
    return host !== undefined && allowed.has(host) ? next() : Promise.resolve(refusals.host.send(c))
  }
}

/**
 * Answers 403 to what a browser sends on behalf of a page of another origin, other port and scheme included; pages of
 * the given origins may call (CORS, without credentials). Programs send no Origin and pass.
 *
 * @param origins - as a browser sends them: `https://tools.example`, without a path. Default: none.
 *
 * @example
 * ```ts
 * app.use(allowOrigins(['https://tools.example']))
 * ```
 */
export const allowOrigins = (origins: readonly string[] = []): MiddlewareHandler => {
  const allowed = new Set(origins)
  const answerBrowser = cors({
    origin: [...origins],
    allowMethods: ['POST'],
    allowHeaders: ['Authorization', 'Content-Type'],
    exposeHeaders: ['X-Request-Id'],
  })
  return (c, next) => {
    const origin = c.req.header('origin')
    if (origin !== undefined && allowed.has(origin)) return answerBrowser(c, next)
    const foreign = origin !== undefined && origin !== new URL(c.req.url).origin
    return foreign || c.req.header('sec-fetch-site') === 'cross-site'
      ? Promise.resolve(refusals.origin.send(c))
      : next()
  }
}

/** What a bearer token may be (RFC 6750, section 2.1), and long enough not to be guessed. */
export const TOKEN_PATTERN = /^(?=.{16})[A-Za-z0-9._~+/-]+=*$/

/** What requireToken takes beside the token. */
export interface TokenOptions {
  /** Hashes both tokens before they are compared. Default: SHA-256 of Web Crypto, which takes a detour by a thread. */
  hashFunction?: (text: string) => string
}

/**
 * Answers 401 to a request without the token: `Authorization: Bearer TOKEN` (RFC 6750), compared in constant time by
 * Hono's bearerAuth.
 *
 * @param token - at least 16 characters out of `A-Z a-z 0-9 - . _ ~ + /`, with `=` only at the end.
 * @throws {TypeError} for any other token: no request could ever match it.
 *
 * @example
 * ```ts
 * app.use(KILL_PATH, requireToken(token))
 * ```
 */
export const requireToken = (token: string, options: TokenOptions = {}): MiddlewareHandler => {
  if (!TOKEN_PATTERN.test(token)) throw new TypeError('The token is no bearer token of 16 characters or more')
  const refuse = {
    // Thrown, as Hono before 4.13.14 takes a returned response for JSON.
    message: (c: Context) => {
      throw new HTTPException(401, { res: refusals.unauthorized.send(c) })
    },
  }
  return bearerAuth({
    ...options,
    token,
    noAuthenticationHeader: refuse,
    invalidAuthenticationHeader: refuse,
    invalidToken: refuse,
  })
}
