import type { MiddlewareHandler } from 'hono'
import { sha256 } from 'hono/utils/crypto'
import { refuse } from '../app/attempt.ts'
import { serverAnswers } from '../app/contract.ts'

/** A bearer token (RFC 6750, section 2.1) of at least 16 characters: long enough, if they are random. */
const TOKEN_PATTERN = /^(?=.{16})[A-Za-z0-9._~+/-]+=*$/
/** The name of a token. The empty string means: no name. */
const NAME_PATTERN = /^[A-Za-z0-9._-]{0,64}$/

/** A token, or several by their names. */
export type Tokens = string | Readonly<Record<string, string>>

/**
 * Answers 401 to a request without one of the tokens: `Authorization: Bearer TOKEN` (RFC 6750). The token's name is
 * then in `c.get('killCaller')`, and in the record.
 *
 * It hashes the request's token once and looks up the digest. So the time to answer tells nothing about any token.
 * (Hono's bearerAuth compares with each token, and throws its answers.)
 *
 * @param tokens - one, or several by their names. A token has at least 16 characters of `A-Z a-z 0-9 - . _ ~ + /`, with
 *   `=` only at the end. A name has 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
 * @throws {TypeError} if there is no token, a token has two names, or a token or a name is malformed.
 *
 * @example
 * ```ts
 * import { Hono } from 'hono'
 * import { KILL_PATH } from 'psys-kill'
 * import { requireToken } from 'psys-kill/server'
 *
 * export const app = new Hono().use(KILL_PATH, requireToken({ alice: 'correct-horse-battery-staple' }))
 * ```
 */
export const requireToken = (tokens: Tokens): MiddlewareHandler => {
  const named = Object.entries(typeof tokens === 'string' ? { '': tokens } : tokens)
  const values = new Set(named.map(([, token]) => token))
  if (values.size === 0 || values.size < named.length)
    throw new TypeError('Pass at least one token, and a different token for each name')
  for (const [name, token] of named) {
    if (!TOKEN_PATTERN.test(token))
      throw new TypeError('A token must have 16 or more of A-Z a-z 0-9 - . _ ~ + /, with = only at its end')
    if (!NAME_PATTERN.test(name)) throw new TypeError('A name must have 1 to 64 of A-Z a-z 0-9 . _ -')
  }

  const digested = Promise.all(named.map(async ([name, token]) => [await sha256(token), name] as const))
  const names = digested.then((pairs) => new Map(pairs))

  return async (c, next) => {
    const header = c.req.header('authorization')
    if (header === undefined) return refuse(c, serverAnswers.unauthorized)
    const [, token] = /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i.exec(header) ?? []
    // Without Web Crypto there is no digest, and nobody gets in.
    const digest = token && (await sha256(token))
    const name = digest ? (await names).get(digest) : undefined
    if (name === undefined) return refuse(c, serverAnswers.unauthorized, { reason: 'token unknown' })
    if (name !== '') c.set('killCaller', name)
    return next()
  }
}
