import * as z from 'zod/mini'
import type { Condition } from './signaller.ts'

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
      z.iso.datetime({ offset: true }),
      // By hand, as V8 takes .0000999 of a second for 999 ms.
      z.transform((time: string) => new Date(time.replace(/(\.\d{3})\d+/, '$1'))),
    ),
  ),
  waitMs: z.optional(z.int().check(z.minimum(0), z.maximum(60_000))),
} satisfies Record<'pid' | Condition, unknown>)

/** What a request asks for beside the signal. */
export type KillConditions = Omit<z.output<typeof killRequest>, 'pid'>
