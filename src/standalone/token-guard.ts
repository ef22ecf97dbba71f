import type { MiddlewareHandler } from 'hono'
import { requireToken, type Tokens } from '../server/token.ts'

/** The check of the token, with node:crypto, which is faster than Web Crypto and loaded only here, as it takes its time. */
export const tokenGuard = async (tokens: Tokens) => {
  const { createHash } = await import('node:crypto')
  const hashFunction = (text: string) => createHash('sha256').update(text).digest('hex')
  let check = requireToken(tokens, { hashFunction })
  const guard: MiddlewareHandler = (c, next) => check(c, next)
  return {
    guard,
    /** Goes by other tokens from now on. */
    renew: (others: Tokens) => {
      check = requireToken(others, { hashFunction })
    },
  }
}
