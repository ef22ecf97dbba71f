import type { Context, MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { serverAnswers } from '../app/answers.ts'
import { refuse } from '../app/attempt.ts'

/** Whether the page comes from this server. The URL of a request can name another host than Host does: Host it is. */
const isOwn = (origin: string, c: Context) => {
  const [scheme = '', , authority = ''] = c.req.url.split('/', 3)
  const own = `${scheme}//${c.req.header('host') ?? authority}`
  return URL.canParse(own) && new URL(own).origin === origin
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
    const foreign = origin !== undefined && !isOwn(origin, c)
    if (!foreign && c.req.header('sec-fetch-site') !== 'cross-site') return next()
    return Promise.resolve(refuse(c, serverAnswers.origin, foreign ? `origin ${JSON.stringify(origin)}` : 'cross-site'))
  }
}
