import type { Context, MiddlewareHandler } from 'hono'
import { refuse } from '../app/attempt.ts'

/** Looks at a request: returns the row to refuse it with and the reason for the record, or undefined to let it pass. */
export type Check = (c: Context) => readonly [row: { send(c: Context): Response }, reason: string] | undefined

/**
 * A middleware that asks the checks in turn, and goes on with `then`. One for all of them: to Hono each costs more than
 * the check itself.
 */
export const guard =
  (checks: readonly Check[], then: MiddlewareHandler = (_c, next) => next()): MiddlewareHandler =>
  // Not async, as each async function on the way costs every request a turn of the microtask queue.
  (c, next) => {
    for (const check of checks) {
      const refusal = check(c)
      if (refusal) return Promise.resolve(refuse(c, ...refusal))
    }
    return then(c, next)
  }
