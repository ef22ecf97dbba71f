import type { MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { refusals } from '../app/answers.ts'

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
