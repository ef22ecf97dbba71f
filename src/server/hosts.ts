import type { MiddlewareHandler } from 'hono'
import { refusals } from '../app/answers.ts'

/**
 * Answers 403 to a request whose Host names none of the given hosts, or that has no Host. It defends a server on
 * loopback against DNS rebinding, where a web page makes a name of its own resolve to 127.0.0.1.
 *
 * @param hosts - names or addresses without a port, in lower case, IPv6 in brackets; any port is accepted.
 *
 * @example
 * ```ts
 * app.use(allowHosts(['localhost', '127.0.0.1', '[::1]']))
 * ```
 */
export const allowHosts = (hosts: readonly string[]): MiddlewareHandler => {
  const allowed = new Set(hosts)
  // Not async, as each async function on the way costs every request a turn of the microtask queue.
  return (c, next) => {
    const host = c.req.header('host')?.replace(/:\d*$/, '').toLowerCase()
    return host !== undefined && allowed.has(host) ? next() : Promise.resolve(refusals.host.send(c))
  }
}
