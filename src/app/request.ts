import { zValidator } from '@hono/zod-validator'
import type { Context, Env, MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { ZodSafeParseResult } from 'zod'
import * as z from 'zod/mini'
import { $ZodError } from 'zod/v4/core'
import { refuse } from './attempt.ts'
import { incomingOf } from './connection.ts'
import { answers } from './contract.ts'
import { FIELDS, type Field, type ProcessSeen } from './signaller.ts'

const MAX_BODY_BYTES = 4096

/**
 * Turns a string of decimal digits into a number. White space around the digits is allowed. Any other value stays as it
 * is. (A union of two schemas does the same, but makes a bad request ten times as expensive.)
 */
export const fromDigits = z.transform((value: number | string) =>
  typeof value === 'string' && /^\s*[0-9]+\s*$/.test(value) ? Number(value) : value,
)

const trueOrAbsent = z.transform((value: boolean) => value || undefined)
const instance = z.string().check(z.regex(/^[\w.-]{1,64}$/))

/** The body of a request. Unknown fields are refused: a misspelt condition must not kill. */
export const killRequest = z.strictObject({
  /** A JSON number, or a string of decimal digits. */
  pid: z.pipe(fromDigits, z.int().check(z.minimum(1))),
  instance: z.optional(instance),
  waitMs: z.optional(z.int().check(z.minimum(0), z.maximum(60_000))),
  /** `false` is the same as leaving the field out. */
  dryRun: z.optional(z.pipe(z.boolean(), trueOrAbsent)),
  command: z.optional(z.string()),
  /** Up to 200 characters. (maxLength would count UTF-16 code units.) */
  comment: z.optional(z.string().check(z.regex(/^[\s\S]{0,200}$/u))),
} satisfies Record<'pid' | Field, unknown>)

/** What the answer to a dry run tells about the process. The kernel keeps 15 bytes of a name. */
export const processSeen = z.object({
  command: z.string().check(z.maxLength(15)),
  uid: z.optional(z.int().check(z.minimum(0))),
  instance: z.optional(instance),
  startedAt: z.optional(z.iso.datetime()),
}) satisfies z.ZodMiniType<ProcessSeen>

/** Whether Hono's validator reads a body of this content type as JSON. */
const isJson = (type = '') => /^\s*application\/([\w.-]+\+)?json\s*(;|$)/i.test(type)

/** Refuses a body that the schema rejects, and names the first wrong field. */
const refuseWrong = ({ success, data }: { success: boolean; data: unknown }, c: Context) => {
  if (success) return undefined
  const { shape } = killRequest
  // A body that is not an object has no pid.
  const body: Record<string, unknown> = Object(data)
  const wrong = (['pid', ...FIELDS] as const).find((name) => !z.safeParse(shape[name], body[name]).success)
  const { pid } = body
  if (wrong === undefined) {
    const unknown = Object.keys(body).find((name) => !Object.hasOwn(shape, name))
    return refuse(c, answers['unknown field'], { pid, detail: JSON.stringify(unknown) })
  }
  const reason = isJson(c.req.header('content-type')) ? undefined : 'content-type'
  return refuse(c, answers[`bad ${wrong}`], { pid, reason })
}

type KillRequest = z.output<typeof killRequest>

// zod builds the error of a failed parse when somebody reads it, which is slow. zValidator reads it, but nobody needs
// it: so give zValidator an empty one.
const NO_DETAILS = new $ZodError([])
const parse = (schema: typeof killRequest, body: unknown) => {
  const { success, data } = z.safeParse(schema, body)
  return (success ? { success, data } : { success, error: NO_DETAILS }) as ZodSafeParseResult<KillRequest>
}
const validate = zValidator('json', killRequest, refuseWrong, { validationFunction: parse })

const tooLarge = (c: Context) => refuse(c, answers['too large'])
const unreadable = (c: Context) => refuse(c, answers['bad pid'], { reason: 'body' })
const countedLimit = bodyLimit({ maxSize: MAX_BODY_BYTES, onError: tooLarge })

/** Refuses a body above 4 KiB. Hono's bodyLimit opens the stream, which is slow: skip it if the length is declared. */
const overLimit = (c: Context) => {
  const length = c.req.header('content-length')
  if (length !== undefined && !c.req.header('transfer-encoding'))
    return Number(length) <= MAX_BODY_BYTES ? undefined : tooLarge(c)
  return c.req.raw.bodyUsed ? undefined : countedLimit(c, async () => {}).catch(() => unreadable(c))
}

type Input = { in: { json: z.input<typeof killRequest> }; out: { json: KillRequest } }
type Fail = (cause: unknown, c: Context) => ReturnType<typeof answers.failed.send>
type Answer = NonNullable<ReturnType<typeof tooLarge | typeof unreadable | typeof refuseWrong | Fail>>

/** Limits the body of a request, then validates it. `fail` answers unexpected errors. */
export const killBody =
  (fail: Fail): MiddlewareHandler<Env, string, Input, Answer | Response> =>
  async (c, next) => {
    // Whether other code has read the body, and Hono has no copy of it.
    const wasTaken = (incomingOf(c)?.readableDidRead ?? c.req.raw.bodyUsed) && Object.keys(c.req.bodyCache).length === 0
    const refusal = await overLimit(c)
    if (refusal) return refusal
    // Catch here, not in `onError`, which makes Hono wrap every handler when mounted.
    try {
      return await validate(c, next)
    } catch (cause) {
      // Hono's validator throws an HTTPException for a body that it cannot read or that is not JSON.
      if (!(cause instanceof Error && 'getResponse' in cause)) return fail(cause, c)
      // If the text is still there, it is malformed JSON. If not, a body parser has read it.
      if (!wasTaken || (await c.req.text().catch(() => '')) !== '') return unreadable(c)
      return fail(new Error('The body was read before: mount psys-kill before body parsers', { cause }), c)
    }
  }
