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

  const terminate = (pid: number, delivery: Delivery): Outcome | Promise<Outcome> => {
    if (delivery.waitMs !== undefined && waits > maxWaits) return { code: 'too many waits' }
    if (pid > MAX_PID) return { code: 'ESRCH' }
    const unsupported = CONDITIONS.find((name) => delivery[name] !== undefined && !supports.includes(name))
    return unsupported ? { code: `no ${unsupported}` } : signaller.terminate(pid, delivery)
  }

  const app = new Hono().post(KILL_PATH, limitBody, killBody(fail), async (c) => {
    // Name by name: V8 makes a class of object of its own of each `...`, which takes a fifth of a request's time.
    const { pid, startedBefore, waitMs, dryRun, command, comment } = c.req.valid('json')
    const wait = waitMs === undefined ? 0 : 1
    waits += wait
    try {
      const stopWaiting = waitMs === undefined ? [] : [closeSignal(c), ...(stopping ? [stopping] : [])]
      const onSignal: Delivery['onSignal'] = (outcome) => record({ pid, dryRun, comment, outcome }, c)
      const delivery = { startedBefore, waitMs, dryRun, command, comment, stopWaiting, onSignal }
      const outcome = await terminate(pid, delivery satisfies Record<keyof Delivery, unknown>)
      c.set('killAttempt', { pid, dryRun, comment, outcome })
      return answers[outcome.code].send(c, outcome)
    } catch (cause) {
      return fail(cause, c, { pid, dryRun, comment })
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
