import { type Context, Hono, type MiddlewareHandler } from 'hono'
import type { ApplyGlobalResponse } from 'hono/client'
import { answers, KILL_PATH, serverAnswers } from '../app/answers.ts'
import { type AppOptions, type AppType, createApp } from '../app/app.ts'
import { refuse } from '../app/attempt.ts'
import { type AccessLogOptions, accessLog } from './access-log.ts'
import { guard } from './check.ts'
import { checkHost } from './hosts.ts'
import { answerBrowsers, checkOrigin } from './origins.ts'
import { checkProxy } from './proxies.ts'
import { requireToken, type TokenOptions, type Tokens } from './token.ts'

/** What createServerApp takes. */
export interface ServerOptions extends Pick<AppOptions, 'signaller' | 'maxWaits' | 'stopping'>, TokenOptions {
  /** Where the record goes. */
  log: AccessLogOptions
  /** The values of Host that are answered: in lower case, without a port, IPv6 in brackets. Default: any. */
  hosts?: readonly string[] | undefined
  /** Whether requests may come through a proxy, which then has to ask who is there. Default: if there is a token. */
  allowProxy?: boolean | undefined
  /** Origins, besides the server's own, whose pages may call. Default: none. */
  origins?: readonly string[] | undefined
  /** Called with each request before all else. Default: nothing. */
  prepare?: ((c: Context) => void) | undefined
  /** Guards of the kill route, asked in this order behind the checks of Host and origin. Default: none. */
  guards?: readonly MiddlewareHandler[] | undefined
  /** The bearer token that the kill route asks for, or several by their names. Default: none. */
  token?: Tokens | undefined
}

const HEALTH_PATH = '/healthz'

/** An app that answers with the headers of ours and makes a record, and has no route yet. */
const recordedApp = (log: AccessLogOptions, prepare?: (c: Context) => void) => {
  const record = accessLog(log)
  return new Hono().use((c, next) => {
    prepare?.(c)
    c.header('Cache-Control', 'no-store')
    c.header('X-Content-Type-Options', 'nosniff')
    // Health checks come every few seconds and are no attempt at anything.
    return c.req.path === HEALTH_PATH ? next() : record(c, next)
  })
}

/**
 * The app with all that a server of its own needs: the checks of Host, proxy, origin and token, in this order and before the
 * body is read, the record, and `GET /healthz`.
 *
 * @throws {TypeError} for a token that no request could match.
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
  hashFunction,
  prepare,
  ...app
}: ServerOptions) => {
  const server = recordedApp(log, prepare)
  const checks = [...(hosts ? [checkHost(hosts)] : []), ...(allowProxy ? [] : [checkProxy]), checkOrigin(origins)]
  server.use(guard(checks, answerBrowsers(origins)))
  server.get(HEALTH_PATH, (c) => c.json({ ok: true }))
  for (const guard of guards) server.use(KILL_PATH, guard)
  if (token !== undefined) server.use(KILL_PATH, requireToken(token, { hashFunction }))
  server.route('/', createApp(app))
  server.notFound((c) => refuse(c, serverAnswers.path, 'path'))
  server.onError((error, c) => {
    c.set('killAttempt', { error })
    return answers.failed.send(c)
  })
  return server
}

type Own = typeof serverAnswers
type Body<Row extends keyof Own> = { json: Own[Row]['body'] }

/** The type of a standalone server, for Hono's typed client: AppType with what only a server answers. */
export type ServerAppType = ApplyGlobalResponse<
  AppType,
  {
    401: Body<'unauthorized'>
    403: Body<'host' | 'proxy' | 'origin'>
    404: Body<'path'>
    405: { json: (typeof answers)['bad method']['body'] }
  }
>

/** Refuses every request with a row of the table, on record: for what does not get as far as the checks. */
export const createClosedApp = (
  log: AccessLogOptions,
  row: { send(c: Context): Response },
  reasonOf: (c: Context) => string,
) => recordedApp(log).all('*', (c) => refuse(c, row, reasonOf(c)))
