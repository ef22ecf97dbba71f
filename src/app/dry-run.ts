import * as z from 'zod/mini'
import type { ProcessSeen } from './signaller.ts'

/** What the answer to a dry run tells of the process. */
export const processSeen = z.object({
  command: z.string(),
  uid: z.optional(z.int().check(z.minimum(0))),
  startedAt: z.optional(z.iso.datetime()),
}) satisfies z.ZodMiniType<ProcessSeen>
