import { type Context, Hono, type MiddlewareHandler } from 'hono'
import type { ApplyGlobalResponse } from 'hono/client'
import { type AppOptions, type AppType, createApp } from '../app/app.ts'
import { refuse } from '../app/attempt.ts'
import { answers, KILL_PATH, serverAnswers } from '../app/contract.ts'
import { type AccessLogOptions, accessLog } from './access-log.ts'
import { allowCors, type Check, checkHost, checkOrigin, checkProxy, guard } from './guards.ts'
import { requireToken, type Tokens } from './token.ts'

/** The options of createServerApp. */
export interface ServerOptions extends Pick<AppOptions, 'signaller' | 'maxWaits' | 'stopping'> {
  /** How to write the record: the options of accessLog. */
  log: AccessLogOptions
  /** The values of Host to accept: in lower case, without a port, IPv6 in brackets. Default: any. */
  hosts?: readonly string[] | undefined
  /** Whether to accept requests through a proxy. The proxy must authenticate. Default: only with `token`. */
  allowProxy?: boolean | undefined
  /** Origins whose pages may call, in addition to the server's own. Default: none. */
  origins?: readonly string[] | undefined
  /** Called with each request, before anything else. Default: nothing. */
  prepare?: ((c: Context) => void) | undefined
  /** Guards of the kill route. They run in this order, after the checks of Host, proxy and origin. Default: none. */
  guards?: readonly MiddlewareHandler[] | undefined
  /** The bearer tokens of which each kill must carry one. They are checked after `guards`. Default: none. */
  token?: Tokens | undefined
}

const HEALTH_PATH = '/healthz'

/**
 * Creates the app of a standalone server: `createApp` with the guards, the record, and `GET /healthz`. It checks Host,
 * proxy, origin and token, in this order, before it reads the body.
 *
 * @throws {TypeError} if `token` is malformed: see `requireToken`.
 *
 * @example
 * ```ts
 * import { nodeSignaller } from 'psys-kill/node'
 * import { createServerApp } from 'psys-kill/server'
 *
 * export const { fetch } = createServerApp({ signaller: nodeSignaller(), log: { write: (line) => console.log(line) } })
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
  const refuseHost = hosts && checkHost(hosts)
  const refuseOrigin = checkOrigin(origins)
  // One middleware is faster than one for each check.
  const check: Check = (c) => refuseHost?.(c) ?? (allowProxy ? undefined : checkProxy(c)) ?? refuseOrigin(c)
  const server = new Hono()
    .use((c, next) => {
      prepare?.(c)
      c.header('Cache-Control', 'no-store')
      c.header('X-Content-Type-Options', 'nosniff')
      // Health checks come every few seconds: record only the refused ones.
      const isHealthCheck = c.req.path === HEALTH_PATH && ['GET', 'HEAD'].includes(c.req.method)
      return isHealthCheck && !check(c) ? next() : record(c, next)
    })
    .use(guard(check, allowCors(origins)))
  server.get(HEALTH_PATH, (c) => c.json({ ok: true }))
  server.use(KILL_PATH, ...guards, ...(token === undefined ? [] : [requireToken(token)]))
  // The record already has the cause of each 500.
  server.route('/', createApp({ ...app, onError: () => {} }))
  server.notFound((c) => refuse(c, serverAnswers.path))
  server.onError((error, c) => {
    c.set('killAttempt', { error })
    return answers.failed.send(c)
  })
  return server
}

type Row = (typeof serverAnswers)[keyof typeof serverAnswers] | (typeof answers)['bad method']
/** The bodies of the rows that have this status. */
type Json<Status> = { json: Extract<Row, { status: Status }>['body'] }

/** The type of a standalone server, for Hono's typed client: AppType, and the answers that its chain of routes does not show. */
export type ServerAppType = ApplyGlobalResponse<AppType, { [Status in Row['status']]: Json<Status> }>
