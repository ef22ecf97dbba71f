import { type Context, Hono } from 'hono'
import { answers, KILL_PATH } from './answers.ts'
import { type KillAttempt, refuse } from './attempt.ts'
import { limitBody } from './body-limit.ts'
import { closeSignal } from './connection.ts'
import { killBody } from './kill-body.ts'
import { CONDITIONS, type Delivery, MAX_PID, type Outcome, type Signaller } from './signaller.ts'

/** What createApp takes. */
export interface AppOptions {
  /** Delivers the signal: `nodeSignaller()`, `remoteSignaller(…)` or your own. */
  signaller: Signaller
  /** How many requests may wait for an exit at once; one more is answered 503, unsignalled. Default: 10000. */
  maxWaits?: number | undefined
  /** Gets the cause of each 500; the client never does. Default: `console.error`, unless accessLog records it. */
  onError?: (cause: unknown, c: Context) => void
  /** When it aborts, requests that wait for an exit are answered at once with `exited: false`. Default: never. */
  stopping?: AbortSignal | undefined
}

/**
 * The endpoint as a Hono app, to serve or to mount: `POST /api/connections/kill`.
 *
 * It carries the contract and touches no other route. Who may call it is for the service around it to decide. What
 * became of a request is in the context variable `killAttempt`.
 *
 * @returns the app; its `fetch` takes a standard Request. It never throws: a signaller that does makes a 500.
 *
 * @example
 * ```ts
 * import { Hono } from 'hono'
 * import { createApp } from 'psys-kill'
 * import { nodeSignaller } from 'psys-kill/node'
 *
 * const service = new Hono().route('/', createApp({ signaller: nodeSignaller() }))
 * ```
 */
export const createApp = ({
  signaller,
  maxWaits = 10_000,
  onError = (cause, c) => {
    if (!c.get('killOnRecord')) console.error(cause)
  },
  stopping,
}: AppOptions) => {
  const { supports = [] } = signaller
  let waits = 0

  const fail = (cause: unknown, c: Context, request: KillAttempt = {}) => {
    c.set('killAttempt', { ...request, error: cause ?? 'unknown' })
    onError(cause, c)
    return answers.failed.send(c)
  }

  // A record that fails changes no answer: by then the signal is out.
  const record = (attempt: KillAttempt, c: Context) => {
    c.set('killAttempt', attempt)
    try {
      c.get('onKillSignal')?.(attempt)
    } catch (cause) {
      console.error(cause)
    }
  }

  type Asked = Omit<Delivery, 'stopWaiting'>
  const terminate = (pid: number, asked: Asked, c: Context): Outcome | Promise<Outcome> => {
    if (asked.waitMs !== undefined && waits > maxWaits) return { code: 'too many waits' }
    if (pid > MAX_PID) return { code: 'ESRCH' }
    const unsupported = CONDITIONS.find((name) => asked[name] !== undefined && !supports.includes(name))
    if (unsupported) return { code: `no ${unsupported}` }
    const stopWaiting = asked.waitMs === undefined ? [] : [closeSignal(c), ...(stopping ? [stopping] : [])]
    return signaller.terminate(pid, { ...asked, stopWaiting })
  }

  const app = new Hono().post(KILL_PATH, limitBody, killBody(fail), async (c) => {
    const { pid, ...asked } = c.req.valid('json')
    const request = { pid, dryRun: asked.dryRun, comment: asked.comment }
    const wait = asked.waitMs === undefined ? 0 : 1
    waits += wait
    try {
      const onSignal: Delivery['onSignal'] = (outcome) => record({ ...request, outcome }, c)
      const outcome = await terminate(pid, { ...asked, onSignal }, c)
      c.set('killAttempt', { ...request, outcome })
      return answers[outcome.code].send(c, outcome)
    } catch (cause) {
      return fail(cause, c, request)
    } finally {
      waits -= wait
    }
  })
  // Not in the chain, where `all` would widen the client's types; reached only by what is not a POST.
  app.all(KILL_PATH, (c) => refuse(c, answers['bad method'], 'method'))
  return app
}

/** The type of the app, for Hono's typed client: `hc<AppType>(url)`. */
export type AppType = ReturnType<typeof createApp>
