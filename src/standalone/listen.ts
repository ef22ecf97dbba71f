import { once } from 'node:events'
import type { Server } from 'node:http'
import process from 'node:process'
import { errorCode } from '../node/error-code.ts'
import { clearStaleSocket } from '../node/unix-socket.ts'
import { hostInUrl } from './host.ts'
import { messageOf, SettingsError } from './settings-error.ts'
import type { Listening, Nothing } from './start.ts'

/** How many connections may wait to be accepted; with Node's 511, a third of 2,000 at once waited a second. */
const BACKLOG = 4096

/** What system errors mean here, and what to do. */
const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there; stop it, or listen elsewhere',
  EADDRNOTAVAIL: 'no address of this machine; choose one that `ip address` lists',
  EACCES: 'ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another --port',
  // Of what systemd hands over.
  EINVAL: 'no socket of ListenStream and Accept=no; change the socket unit',
  ENOTFOUND: 'a name without an address; choose an address',
}
const NO_FOLDER = 'its folder must exist, and be one that this user may write to'
const OF_SOCKETS: typeof REASONS = { ...REASONS, EACCES: NO_FOLDER, ENOTDIR: NO_FOLDER }

/**
 * Listens where the settings say, and on nothing else.
 *
 * @returns where it listens: `http://HOST:PORT`, `https://…`, or the path of the socket; and the host, undefined on a
 * Unix domain socket.
 * @throws {SettingsError} where it cannot.
 */
export const listen = async (server: Server, { fd, host, port, socket, tls, ...rest }: Listening) => {
  rest satisfies Nothing
  const listening = once(server, 'listening')
  const path = fd === undefined ? socket : 'the socket of systemd'
  try {
    if (fd !== undefined) {
      // It would listen on all interfaces instead.
      if ('Bun' in globalThis) throw new Error('Bun cannot take it over; use Node')
      // In the options, the backlog would not be looked at.
      server.listen({ fd }, BACKLOG)
    } else if (socket === undefined) server.listen({ host, port, backlog: BACKLOG })
    else {
      await clearStaleSocket(socket)
      // The socket is made inside listen(); a chmod afterwards would leave it open to all for a moment.
      const umask = process.umask(0o117)
      server.listen({ path: socket, backlog: BACKLOG })
      process.umask(umask)
    }
    await listening
  } catch (error) {
    const reasons = socket === undefined ? REASONS : OF_SOCKETS
    const reason = reasons[String(errorCode(error))] ?? messageOf(error)
    throw new SettingsError(`Cannot listen on ${path ?? `${hostInUrl(host)}:${port}`}: ${reason}.`)
  }
  const bound = server.address()
  const tcp = typeof bound === 'object' ? bound : null
  const at = fd === undefined ? (socket === undefined ? host : undefined) : tcp?.address
  // Over TLS connections are told apart by the addresses of their clients, which have none here.
  if (tls && at === undefined) throw new SettingsError('A Unix socket (of systemd) has no TLS; leave out --tls-….')
  const url = at === undefined ? undefined : `${tls ? 'https' : 'http'}://${hostInUrl(at)}:${tcp?.port ?? port}`
  return { host: at, place: url ?? path }
}
