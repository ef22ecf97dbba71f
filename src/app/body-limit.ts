import type { Context, Next } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { answers } from './answers.ts'
import { refuse } from './attempt.ts'

const MAX_BYTES = 4096

const tooLarge = (c: Context) => refuse(c, answers['too large'], 'size')
const countedLimit = bodyLimit({ maxSize: MAX_BYTES, onError: tooLarge })

/**
 * Answers 413 to a body above 4 KiB. A declared length is enough to go by, as the HTTP parser holds the client to it;
 * Hono's bodyLimit, which counts, would open the stream first and take the Node adapter off its fast path.
 */
export const limitBody = (c: Context, next: Next) => {
  const length = c.req.header('content-length')
  if (length === undefined || c.req.header('transfer-encoding'))
    // A middleware of the host service may have read it already.
    return c.req.raw.bodyUsed ? next() : countedLimit(c, next).catch(() => refuse(c, answers['bad pid'], 'body'))
  return Number(length) <= MAX_BYTES ? next() : tooLarge(c)
}
