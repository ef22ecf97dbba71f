import { type Context, Hono, type MiddlewareHandler } from 'hono'
import type { ApplyGlobalResponse } from 'hono/client'
import { type AppOptions, type AppType, createApp } from '../app/app.ts'
import { refuse } from '../app/attempt.ts'
import { answers, KILL_PATH, serverAnswers } from '../app/contract.ts'
import { type AccessLogOptions, accessLog } from './access-log.ts'
import { answerBrowsers, type Check, checkHost, checkOrigin, checkProxy, guard } from './guards.ts'
import { requireToken, type Tokens } from './token.ts'

/** The options of createServerApp. */
export interface ServerOptions extends Pick<AppOptions, 'signaller' | 'maxWaits' | 'stopping'> {
  /** Where the record goes. */
  log: AccessLogOptions
  /** The values of Host to accept: in lower case, without a port, IPv6 in brackets. Default: any. */
  hosts?: readonly string[] | undefined
  /** Whether to accept requests through a proxy. The proxy must authenticate. Default: only if there is a token. */
  allowProxy?: boolean | undefined
  /** Origins whose pages may call, in addition to the server's own. Default: none. */
  origins?: readonly string[] | undefined
  /** Called with each request, before anything else. Default: nothing. */
  prepare?: ((c: Context) => void) | undefined
  /** Guards of the kill route, in this order, after the checks of Host, proxy and origin. Default: none. */
  guards?: readonly MiddlewareHandler[] | undefined
  /** The bearer token that a kill must carry, or several by their names. Default: none. */
  token?: Tokens | undefined
}

const HEALTH_PATH = '/healthz'

/**
 * Creates the app of a standalone server. In this order it checks Host, proxy, origin and token, before it reads the
 * body. It writes the record, and answers `GET /healthz`.
 *
 * @throws {TypeError} if no request could match a token.
 *
 * @example
 * ```ts
 * const { fetch } = createServerApp({ signaller: nodeSignaller(), log: { write: (line) => console.log(line) } })
 * ```
 */
export const createServerApp = ({
  log,
  hosts,
  origins = [],
  token,
  allowProxy = token !== undefined,
  guards = [],
  prepare,
  ...app
}: ServerOptions) => {
  const record = accessLog(log)
  const checks: Check[] = [
    ...(hosts ? [checkHost(hosts)] : []),
    ...(allowProxy ? [] : [checkProxy]),
    checkOrigin(origins),
  ]
  const server = new Hono()
    .use((c, next) => {
      prepare?.(c)
      c.header('Cache-Control', 'no-store')
      c.header('X-Content-Type-Options', 'nosniff')
      // Health checks come every few seconds: record only those that are refused.
      const isHealthy = c.req.path === HEALTH_PATH && c.req.method === 'GET' && !checks.some((refuses) => refuses(c))
      return isHealthy ? next() : record(c, next)
    })
    .use(guard(checks, answerBrowsers(origins)))
  server.get(HEALTH_PATH, (c) => c.json({ ok: true }))
  for (const guard of guards) server.use(KILL_PATH, guard)
  if (token !== undefined) server.use(KILL_PATH, requireToken(token))
  server.route('/', createApp(app))
  server.notFound((c) => refuse(c, serverAnswers.path))
  server.onError((error, c) => {
    c.set('killAttempt', { error })
    return answers.failed.send(c)
  })
  return server
}

type Row = (typeof serverAnswers)[keyof typeof serverAnswers] | (typeof answers)['bad method']
/** What the rows of one status answer. */
type Json<Status> = { json: Extract<Row, { status: Status }>['body'] }

/** The type of a standalone server, for Hono's typed client: AppType and what only a server answers. */
export type ServerAppType = ApplyGlobalResponse<
  AppType,
  { 401: Json<401>; 403: Json<403>; 404: Json<404>; 405: Json<405> }
>
