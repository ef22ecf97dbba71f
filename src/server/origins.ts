import type { Context, MiddlewareHandler } from 'hono'
import { cors } from 'hono/cors'
import { serverAnswers } from '../app/answers.ts'
import { type Check, guard } from './check.ts'

/** Whether the page comes from this server. The URL of a request can name another host than Host does: Host it is. */
const isOwn = (origin: string, c: Context) => {
  const [scheme = '', , authority = ''] = c.req.url.split('/', 3)
  const own = `${scheme}//${c.req.header('host') ?? authority}`
  return URL.canParse(own) && new URL(own).origin === origin
}

/** Whether a page that sends a request is of this server or of one of the given origins. */
export const checkOrigin = (origins: readonly string[]): Check => {
  const allowed = new Set(origins)
  return (c) => {
    const origin = c.req.header('origin')
    if (origin !== undefined && allowed.has(origin)) return undefined
    if (origin !== undefined && !isOwn(origin, c)) return [serverAnswers.origin, `origin ${JSON.stringify(origin)}`]
    return c.req.header('sec-fetch-site') === 'cross-site' ? [serverAnswers.origin, 'cross-site'] : undefined
  }
}

/** Tells browsers that pages of the given origins may call. */
export const answerBrowsers = (origins: readonly string[]): MiddlewareHandler => {
  const answer = cors({
    origin: [...origins],
    allowMethods: ['POST'],
    allowHeaders: ['Authorization', 'Content-Type'],
    exposeHeaders: ['X-Request-Id'],
  })
  const allowed = new Set<string | undefined>(origins)
  return (c, next) => (allowed.has(c.req.header('origin')) ? answer(c, next) : next())
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
export const allowOrigins = (origins: readonly string[] = []): MiddlewareHandler =>
  guard([checkOrigin(origins)], answerBrowsers(origins))
