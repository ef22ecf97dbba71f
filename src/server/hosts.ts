import type { MiddlewareHandler } from 'hono'
import { serverAnswers } from '../app/answers.ts'
import { type Check, guard } from './check.ts'

/** Whether the hosts that a request names are among the given ones. */
export const checkHost = (hosts: readonly string[]): Check => {
  const allowed = new Set(hosts)
  const refused = (authority: string) => !allowed.has(authority.replace(/:\d*$/, '').toLowerCase())
  return (c) => {
    const [, authority = ''] = /^[^/]*\/\/([^/]*)/.exec(c.req.url) ?? []
    const wrong = [c.req.header('host') ?? authority, authority].find(refused)
    return wrong === undefined ? undefined : [serverAnswers.host, `host ${JSON.stringify(wrong)}`]
  }
}

/**
 * Answers 403 to a request that does not name one of the given hosts. It defends a server on loopback against DNS
 * rebinding, where a web page makes a name of its own resolve to 127.0.0.1.
 *
 * A request may name its host twice, by Host and by the URL (`:authority` on HTTP/2, an absolute target on HTTP/1.1,
 * RFC 9112 section 3.2.2): both must be allowed.
 *
 * @param hosts - names or addresses without a port, in lower case, IPv6 in brackets; any port is accepted.
 *
 * @example
 * ```ts
 * app.use(allowHosts(['localhost', '127.0.0.1', '[::1]']))
 * ```
 */
export const allowHosts = (hosts: readonly string[]): MiddlewareHandler => guard([checkHost(hosts)])
