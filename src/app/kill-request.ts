import * as z from 'zod/mini'
import { _isoDateTime } from 'zod/v4/core'
import type { Field } from './signaller.ts'

/**
 * The number that decimal digits are, white space around them allowed; anything else stays what it is. (A union of
 * schemas would say the same, at a tenth of what a bad request costs.)
 */
export const fromDigits = z.transform((value: number | string) =>
  typeof value === 'string' && /^\s*[0-9]+\s*$/.test(value) ? Number(value) : value,
)

/** The body of a request. Unknown fields are refused: a misspelt condition must not kill. */
export const killRequest = z.strictObject({
  /** A JSON number, or decimal digits in a string; nothing half-parsed. */
  pid: z.pipe(fromDigits, z.int().check(z.minimum(1))),
  /** ISO 8601 with an offset. Finer than a millisecond is cut off, towards the earlier time, which is the safe side. */
  startedBefore: z.optional(
    z.pipe(
      // (z.iso.datetime would bring the other forms of ISO 8601 along, and 1 kB.)
      _isoDateTime(z.ZodMiniISODateTime, { offset: true }),
      // By hand, as V8 takes .0000999 of a second for 999 ms.
      z.transform((time: string) => new Date(time.replace(/(\.\d{3})\d+/, '$1'))),
    ),
  ),
  waitMs: z.optional(z.int().check(z.minimum(0), z.maximum(60_000))),
  /** `false` asks for nothing. */
  dryRun: z.optional(
    z.pipe(
      z.boolean(),
      z.transform((dry: boolean) => dry || undefined),
    ),
  ),
  command: z.optional(z.string()),
  /** Characters, where maxLength would count UTF-16. */
  comment: z.optional(z.string().check(z.regex(/^[\s\S]{0,200}$/u))),
} satisfies Record<'pid' | Field, unknown>)
