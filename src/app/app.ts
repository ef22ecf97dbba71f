import { zValidator } from '@hono/zod-validator'
import { type Context, type Env, Hono, type Input, type MiddlewareHandler } from 'hono'
import type { ZodSafeParseResult } from 'zod'
import type * as z from 'zod/v4/core'
import { answers, KILL_PATH } from './answers.ts'
import { limitBody } from './body-limit.ts'
import { killRequest } from './kill-request.ts'
import { type Conditions, MAX_PID, type Outcome, type Signaller } from './signaller.ts'

/** One call of the endpoint whose body was read. */
export interface Attempt {
  /** The PID; as it came in and unchecked where the request was refused. */
  readonly pid: unknown
  /** What became of it; undefined where the request was refused or failed. */
  readonly outcome?: Outcome
}

/** What createApp takes. */
export interface AppOptions {
  /** Delivers the signal: `nodeSignaller()`, `remoteSignaller(…)` or your own. */
  signaller: Signaller
  /** Gets every attempt whose body was read, for a record. Default: nothing. */
  onAttempt?: (attempt: Attempt, c: Context) => void
  /** Gets the cause of each 500; the client never does. Default: `console.error`. */
  onError?: (cause: unknown, c: Context) => void
  /** When it aborts, requests that wait for an exit are answered at once with `exited: false`. Default: never. */
  stopping?: AbortSignal
}

// The core's own run: the ZodError that safeParse makes takes a fifth of a bad request's time, and much memory. The
// validator's type asks for one, but only hands it on to our hook, which reads the issues.
const validationFunction = (schema: typeof killRequest, body: unknown) => {
  const payload = schema._zod.run({ value: body, issues: [] }, { async: false })
  if (payload instanceof Promise) throw new TypeError('The schema must be synchronous')
  const { issues, value } = payload
  const result = issues.length === 0 ? { success: true, data: value } : { success: false, error: { issues } }
  return result as ZodSafeParseResult<z.output<typeof killRequest>>
}

/**
 * The endpoint as a Hono app, to serve or to mount: `POST /api/connections/kill`.
 *
 * It carries the contract and touches no other route. Who may call it is for the service around it to decide.
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
  onAttempt,
  onError = (cause) => console.error(cause),
  stopping,
}: AppOptions) => {
  const fail = (cause: unknown, c: Context) => {
    onError(cause, c)
    return answers.failed.send(c)
  }

  // A record that fails changes no answer: by then the signal is out.
  const record = (attempt: Attempt, c: Context) => {
    try {
      onAttempt?.(attempt, c)
    } catch (cause) {
      onError(cause, c)
    }
  }

  const terminate = (pid: number, conditions: Partial<Conditions>, c: Context) => {
    if (pid > MAX_PID) return { code: 'ESRCH' } satisfies Outcome
    const { startedBefore, waitMs } = conditions
    if (startedBefore === undefined && waitMs === undefined) return signaller.terminate(pid)
    if (!signaller.terminateWith) return { code: startedBefore ? 'no startedBefore' : 'no waitMs' } satisfies Outcome
    const stopWaiting = stopping ? [stopping, c.req.raw.signal] : [c.req.raw.signal]
    return signaller.terminateWith(pid, { startedBefore, waitMs, stopWaiting })
  }

  // Not the app's onError, for which Hono would wrap every handler of a mounted app.
  const orBadPid =
    <E extends Env, P extends string, I extends Input, R extends Response>(
      validate: MiddlewareHandler<E, P, I, R>,
    ): MiddlewareHandler<E, P, I, R | ReturnType<typeof fail> | ReturnType<(typeof answers)['bad pid']['send']>> =>
    async (c, next) => {
      try {
        return await validate(c, next)
      } catch (error) {
        // Hono's validator throws an HTTPException for a body that it cannot read or that is not JSON.
        return error instanceof Error && 'getResponse' in error ? answers['bad pid'].send(c) : fail(error, c)
      }
    }

  const app = new Hono().post(
    KILL_PATH,
    limitBody,
    orBadPid(
      zValidator(
        'json',
        killRequest,
        (result, c) => {
          if (result.success) return
          record({ pid: Object(result.data).pid }, c)
          // Issues come in the order of the schema's fields; a body that is no object has no path and is named by the first.
          const field = result.error.issues[0]?.path?.[0]
          return field === 'startedBefore' || field === 'waitMs'
            ? answers[`bad ${field}`].send(c)
            : answers['bad pid'].send(c)
        },
        { validationFunction },
      ),
    ),
    async (c) => {
      const { pid, ...conditions } = c.req.valid('json')
      try {
        const outcome = await terminate(pid, conditions, c)
        const answer = answers[outcome.code].send(c)
        record({ pid, outcome }, c)
        return answer
      } catch (cause) {
        record({ pid }, c)
        return fail(cause, c)
      }
    },
  )
  // Not in the chain, where `all` would widen the client's types; reached only by what is not a POST.
  app.all(KILL_PATH, (c) => answers['bad method'].send(c))
  return app
}

/** The type of the app, for Hono's typed client: `hc<AppType>(url)`. */
export type AppType = ReturnType<typeof createApp>
