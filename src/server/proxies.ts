import type { Context, MiddlewareHandler } from 'hono'
import { serverAnswers } from '../app/answers.ts'
import type { NodeBindings } from '../app/connection.ts'
import { type Check, guard } from './check.ts'

/** How a proxy makes itself known: Forwarded (RFC 7239), Via (RFC 9110, section 7.6.3), or what came before these. */
const TRACE = /^(forwarded|via|x-real-ip|x-forwarded-.*)$/i

/** The name of a header that a proxy has added, if there is one. */
const traceIn = (c: Context) => {
  const { incoming }: NodeBindings = c.env ?? {}
  // On Node as they came: names and values by turns. To list the names the adapter would make Headers of them.
  if (incoming?.rawHeaders) return incoming.rawHeaders.find((name, index) => index % 2 === 0 && TRACE.test(name))
  return [...c.req.raw.headers.keys()].find((name) => TRACE.test(name))
}

/** Whether a request did not come through a proxy. */
export const checkProxy: Check = (c) => {
  const trace = traceIn(c)
  return trace === undefined ? undefined : [serverAnswers.proxy, trace.toLowerCase()]
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
export const allowProxy = (allowed = false): MiddlewareHandler => guard(allowed ? [] : [checkProxy])
