import type { TLSSocket } from 'node:tls'
import type { Context, MiddlewareHandler } from 'hono'
import { serverAnswers } from '../app/answers.ts'
import { refuse } from '../app/attempt.ts'

interface Caller {
  name: string | undefined
  /** When the certificate expires, in milliseconds; NaN where there is none. */
  until: number
}

/** By connection, as each look at a certificate takes 16 µs. */
const callers = new WeakMap<TLSSocket, Caller>()

/** Whom the certificate of a client names: its common name, else its first alternative name without the kind. */
const callerOf = (socket: TLSSocket): Caller => {
  const known = callers.get(socket)
  if (known) return known
  // No certificate is {}, and no connection null, whatever the types say.
  const { subject, subjectaltname, valid_to = '' } = socket.getPeerCertificate() ?? {}
  const [, first] = /^[^:]+:("(?:\\.|[^"])*"|[^,]*)/.exec(subjectaltname ?? '') ?? []
  const caller = { name: [subject?.CN].flat()[0] || first, until: Date.parse(valid_to) }
  callers.set(socket, caller)
  return caller
}

/**
 * Answers 401 to a request on a connection without a client certificate that was verified and is still valid. Whom it
 * names is then in `c.get('killCaller')`.
 *
 * For Node: its `https` server with `requestCert` and without `rejectUnauthorized`, so that other routes stay open.
 */
export const requireCertificate: MiddlewareHandler = (
  c: Context<{ Bindings: { incoming: { socket: TLSSocket } } }>,
  next,
) => {
  const { socket } = c.env.incoming
  // Node 20 takes a client without a certificate for authorized where it resumes a session: so both are asked for.
  const { name, until } = callerOf(socket)
  if (!socket.authorized || !(until > Date.now()))
    return Promise.resolve(refuse(c, serverAnswers.unauthorized, 'certificate'))
  c.set('killCaller', name)
  return next()
}
