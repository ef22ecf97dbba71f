import type { MiddlewareHandler } from 'hono'
import { bearerAuth } from 'hono/bearer-auth'
import { HTTPException } from 'hono/http-exception'
import { serverAnswers } from '../app/answers.ts'
import { refuse } from '../app/attempt.ts'

/** What a bearer token may be (RFC 6750, section 2.1), and long enough not to be guessed. */
export const TOKEN_PATTERN = /^(?=.{16})[A-Za-z0-9._~+/-]+=*$/

// Hono before 4.13.14 takes a response that a message returns for JSON. What is thrown, and caught here, works with all.
const REFUSED = new HTTPException(401)

/** What requireToken takes beside the token. */
export interface TokenOptions {
  /** Hashes both tokens before they are compared. Default: SHA-256 of Web Crypto, which runs on a worker thread. */
  hashFunction?: ((text: string) => string) | undefined
}

/**
 * Answers 401 to a request without the token: `Authorization: Bearer TOKEN` (RFC 6750), compared in constant time by
 * Hono's bearerAuth.
 *
 * @param token - at least 16 characters out of `A-Z a-z 0-9 - . _ ~ + /`, with `=` only at the end.
 * @throws {TypeError} for any other token: no request could ever match it.
 *
 * @example
 * ```ts
 * app.use(KILL_PATH, requireToken(token))
 * ```
 */
export const requireToken = (token: string, { hashFunction }: TokenOptions = {}): MiddlewareHandler => {
  if (!TOKEN_PATTERN.test(token)) throw new TypeError('The token is no bearer token of 16 characters or more')
  const thrown = {
    message: () => {
      throw REFUSED
    },
  }
  const check = bearerAuth({
    ...(hashFunction && { hashFunction }),
    token,
    noAuthenticationHeader: thrown,
    invalidAuthenticationHeader: thrown,
    invalidToken: thrown,
  })
  return async (c, next) => {
    try {
      return await check(c, next)
    } catch (error) {
      if (error !== REFUSED) throw error
      return refuse(c, serverAnswers.unauthorized, 'token')
    }
  }
}
