import type { Context, MiddlewareHandler } from 'hono'
import { serverAnswers } from '../app/answers.ts'
import { refuse } from '../app/attempt.ts'
import type { NodeBindings } from '../app/connection.ts'

/** How a proxy makes itself known: Forwarded (RFC 7239), Via (RFC 9110, section 7.6.3), or what came before these. */
const TRACE = /^(forwarded|via|x-real-ip|x-forwarded-.*)$/i

/** The names of all headers; on Node as they came, since to list them the adapter would make Headers of them. */
const headerNames = (c: Context) => {
  const { incoming }: NodeBindings = c.env ?? {}
  return incoming?.rawHeaders?.filter((_, index) => index % 2 === 0) ?? [...c.req.raw.headers.keys()]
}

/**
 * Answers 403 to a request that came through a proxy, unless proxies are allowed. For a service that trusts whoever
 * reaches it, on loopback, say: a proxy beside it would let in whoever reaches the proxy.
 *
 * @param allowed - whether proxies are trusted to ask who is there. Default: false.
 *
 * @example
 * ```ts
 * app.use(allowProxy(false))
 * ```
 */
export const allowProxy =
  (allowed = false): MiddlewareHandler =>
  (c, next) => {
    const trace = allowed ? undefined : headerNames(c).find((name) => TRACE.test(name))
    return trace === undefined ? next() : Promise.resolve(refuse(c, serverAnswers.proxy, trace.toLowerCase()))
  }
