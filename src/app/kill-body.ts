import { zValidator } from '@hono/zod-validator'
import type { Context, Env, Input, MiddlewareHandler } from 'hono'
import type { ZodSafeParseResult } from 'zod'
import type * as z from 'zod/v4/core'
import { answers } from './answers.ts'
import { refuse } from './attempt.ts'
import { killRequest } from './kill-request.ts'
import { FIELDS } from './signaller.ts'

// The core's own run: the ZodError that safeParse makes takes a fifth of a bad request's time, and much memory. The
// validator's type asks for one, but only hands it on to our hook, which reads the issues.
const validationFunction = (schema: typeof killRequest, body: unknown) => {
  const payload = schema._zod.run({ value: body, issues: [] }, { async: false })
  if (payload instanceof Promise) throw new TypeError('The schema must be synchronous')
  const { issues, value } = payload
  const result = issues.length === 0 ? { success: true, data: value } : { success: false, error: { issues } }
  return result as ZodSafeParseResult<z.output<typeof killRequest>>
}

/** What Hono's validator takes for JSON. */
const isJson = (type = '') => /^\s*application\/([\w.-]+\+)?json\s*(;|$)/i.test(type)

const validate = zValidator(
  'json',
  killRequest,
  (result, c) => {
    if (result.success) return
    // In the order of the schema's fields, and unknown ones last. Of a body that is no object no field is named.
    const [issue] = result.error.issues
    const field = FIELDS.find((name) => name === issue?.path?.[0])
    const unknown = issue?.code === 'unrecognized_keys' ? `field ${JSON.stringify(issue.keys[0])}` : undefined
    const reason = field ?? unknown ?? (isJson(c.req.header('content-type')) ? 'pid' : 'content-type')
    const row = field ? (`bad ${field}` as const) : unknown ? 'unknown field' : 'bad pid'
    c.set('killAttempt', { pid: Object(result.data).pid, reason })
    return answers[row].send(c)
  },
  { validationFunction },
)

/** A middleware that hands its errors to `fail`: not the app's onError, for which Hono would wrap every handler of a mounted app. */
const guarded =
  <E extends Env, P extends string, I extends Input, R extends Response, F extends Response>(
    middleware: MiddlewareHandler<E, P, I, R>,
    fail: (cause: unknown, c: Context) => F,
  ): MiddlewareHandler<E, P, I, R | F | ReturnType<(typeof answers)['bad pid']['send']>> =>
  (c, next) =>
    middleware(c, next).catch((cause: unknown) =>
      // Hono's validator throws an HTTPException for a body that it cannot read or that is not JSON.
      cause instanceof Error && 'getResponse' in cause ? refuse(c, answers['bad pid'], 'body') : fail(cause, c),
    )

/** Validates the body of a request; `fail` answers what nobody expected. */
export const killBody = <F extends Response>(fail: (cause: unknown, c: Context) => F) => guarded(validate, fail)
