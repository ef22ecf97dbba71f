import { type Context, Hono } from 'hono'
import { type KillAttempt, refuse } from './attempt.ts'
import { closeSignal } from './connection.ts'
import { answers, KILL_PATH } from './contract.ts'
import { killBody } from './request.ts'
import { CONDITIONS, type Delivery, MAX_PID, type Outcome, type Signaller } from './signaller.ts'

/** The options of createApp. */
export interface AppOptions {
  /** Delivers the signal: `nodeSignaller()`, `remoteSignaller(…)` or your own. */
  signaller: Signaller
  /** How many requests with `waitMs` there may be at once. Any more are answered 503, without a signal. Default: 256. */
  maxWaits?: number | undefined
  /** Gets the cause of each 500. The client never gets it. Default: `console.error`. */
  onError?: (cause: unknown, c: Context) => void
  /** When it aborts, requests that wait for an exit are answered with `exited: false`. Default: never. */
  stopping?: AbortSignal | undefined
}

const printCause = (cause: unknown) => console.error(cause)

/**
 * Creates the endpoint as a Hono app, to serve or to mount: `POST /api/connections/kill`.
 *
 * It adds no other route, and no middleware to your routes. It does not authenticate the caller: your service must.
 * `c.get('killAttempt')` tells what happened to a request.
 *
 * @returns the app. Its `fetch` takes a standard Request. If the signaller throws, the app answers 500. Your `onError`
 *   must not throw.
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
export const createApp = ({ signaller, maxWaits = 256, onError = printCause, stopping }: AppOptions) => {
  let waits = 0

  const fail = (cause: unknown, c: Context, request: KillAttempt = {}) => {
    c.set('killAttempt', { ...request, error: cause ?? 'unknown' })
    onError(cause, c)
    return answers.failed.send(c)
  }

  // If the record fails, the answer stays the same: the signal is already out.
  const recordSignal = (attempt: KillAttempt, c: Context) => {
    c.set('killAttempt', attempt)
    try {
      c.get('onKillSignal')?.(attempt)
    } catch (cause) {
      console.error(cause)
    }
  }

  const terminate = (pid: number, delivery: Required<Delivery>): Outcome | Promise<Outcome> => {
    // `waits` includes this request.
    if (delivery.waitMs !== undefined && waits > maxWaits) return { code: 'too many waits' }
    if (pid > MAX_PID) return { code: 'ESRCH' }
    const unsupported = CONDITIONS.find((name) => delivery[name] !== undefined && !signaller.supports?.includes(name))
    return unsupported ? { code: `no ${unsupported}` } : signaller.terminate(pid, delivery)
  }

  const app = new Hono().post(KILL_PATH, killBody(fail), async (c) => {
    // List the fields: each spread creates a new hidden class, which costs a fifth of a request's time.
    const { pid, instance, waitMs, dryRun, command, comment } = c.req.valid('json')
    const wait = waitMs === undefined ? 0 : 1
    waits += wait
    try {
      const stopWaiting = waitMs === undefined ? [] : [closeSignal(c), ...(stopping ? [stopping] : [])]
      const onSignal: Delivery['onSignal'] = (outcome) => recordSignal({ pid, dryRun, comment, outcome }, c)
      const outcome = await terminate(pid, { instance, waitMs, dryRun, command, comment, stopWaiting, onSignal })
      c.set('killAttempt', { pid, dryRun, comment, outcome })
      return answers[outcome.code].send(c, outcome)
    } catch (cause) {
      return fail(cause, c, { pid, dryRun, comment })
    } finally {
      waits -= wait
    }
  })
  // Not in the chain: `all` would turn the client's `$post` into `never`.
  app.all(KILL_PATH, (c) => refuse(c, answers['bad method']))
  return app
}

/** The type of the app for Hono's typed client: `hc<AppType>(url)`. */
export type AppType = ReturnType<typeof createApp>
