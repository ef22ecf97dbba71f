import { once } from 'node:events'
import type { Server } from 'node:http'
import { errorCode } from '../node/proc.ts'
import { clearStaleSocket, publicAccess } from '../node/unix-socket.ts'
import { messageOf, SettingsError, warn } from './report.ts'
import type { Settings } from './settings.ts'

/** How many connections may wait to be accepted. With Node's default of 511, some of 2,000 at once waited a second. */
const BACKLOG = 4096

/** A host as it is written in a URL. */
const hostInUrl = (host: string) => (host.includes(':') ? `[${host}]` : host)

/** Whether only programs on this machine can reach the host. */
const isLoopback = (host: string) => /^(localhost|::1|127(\.\d{1,3}){3})$/.test(host)

/**
 * Throws a SettingsError if an open server listens beyond loopback.
 *
 * @param isOpen - whether the server accepts kills from everybody who reaches it.
 */
export const refuseOpenNetwork = (host: string, isOpen: boolean) => {
  if (isOpen && !isLoopback(host))
    throw new SettingsError('To listen beyond loopback, set --token-file, PSYS_KILL_TOKEN or --tls-client-ca.')
}

/** The values of Host to accept, or undefined for any. */
export const hostsAt = (host: string, allowHost?: readonly string[]) =>
  isLoopback(host) ? ['localhost', '127.0.0.1', '[::1]', hostInUrl(host), ...(allowHost ?? [])] : allowHost

/**
 * The descriptor of the socket that systemd hands over; undefined if it does not.
 *
 * @param isSet - whether a setting says where to listen. Then a socket for another process is not ours to use.
 * @throws {SettingsError} if systemd hands over sockets, but not exactly one to this process, or if a setting also says
 *   where to listen. It does not fall back to the default address, where everybody could connect.
 */
export const handedSocket = ({ LISTEN_FDS: count, LISTEN_PID: pid }: NodeJS.ProcessEnv, isSet: boolean) => {
  const isOurs = pid === String(process.pid)
  if (count === undefined || (isSet && !isOurs)) return undefined
  if (isSet || !isOurs || count !== '1')
    throw new SettingsError('systemd must hand this process exactly one socket; leave out --host, --port, --socket.')
  // SD_LISTEN_FDS_START of sd_listen_fds(3).
  return 3
}

const OPEN = 'Every local user can now kill whatever this server may kill'

/** What system errors mean here, and what to do. */
const ADVICE: Readonly<Record<string, string>> = {
  EADDRINUSE: 'another program listens there; stop it, or listen elsewhere',
  EADDRNOTAVAIL: 'this machine does not have the address of --host; choose one that `ip address` lists',
  EACCES: 'a port below 1024 needs root or CAP_NET_BIND_SERVICE, a socket needs an existing folder that is writable',
  // For a socket of systemd.
  EINVAL: 'it is not a socket of ListenStream and Accept=no; change the socket unit',
}

/**
 * Listens where the settings say, and nowhere else: on a descriptor, else on a Unix domain socket, else on a host and
 * port. Warns if every local user can kill, and if the network can read the token.
 *
 * @returns
 *   - `place`, for people: `http://HOST:PORT`, or the path of the socket.
 *   - `hosts`: the values of Host to accept, or undefined for any.
 * @throws {SettingsError} if it cannot listen, or if an open server listens beyond loopback.
 */
export const listen = async (server: Server, { fd, host, port, socket, allowHost, tls, tokens, isOpen }: Settings) => {
  const listening = once(server, 'listening')
  const path = fd === undefined ? socket : 'the socket of systemd'
  try {
    // Bun would listen on all interfaces instead.
    if (fd !== undefined && 'Bun' in globalThis) throw new Error('Bun cannot use a socket of systemd; use Node')
    if (socket !== undefined) await clearStaleSocket(socket)
    // listen() creates a socket with this mask. With chmod afterwards, everybody could connect for a moment.
    const umask = process.umask(0o117)
    // In a cluster, `exclusive` makes this process create the socket, and not the primary with another mask.
    server.listen({ fd, ...(socket === undefined ? { host, port } : { path: socket, exclusive: true }) }, BACKLOG)
    process.umask(umask)
    await listening
  } catch (error) {
    // Use only the code: the message of a system error repeats the host.
    const code = errorCode(error)
    const advice = code === undefined ? messageOf(error) : (ADVICE[String(code)] ?? `${code}; check --host or --socket`)
    throw new SettingsError(`Cannot listen on ${path ?? `port ${port}`}: ${advice}.`)
  }
  const bound = server.address()
  const tcp = socket === undefined && typeof bound === 'object' ? bound : undefined
  if (!tcp) {
    if (tls) throw new SettingsError('A Unix domain socket has no TLS; leave out --tls-….')
    const why = publicAccess(fd ?? socket ?? '')
    if (isOpen && why) warn(`${OPEN} through the socket, because ${why}: set a token, or mode 0660.`)
    return { place: path, hosts: allowHost }
  }
  const address = fd === undefined ? host : tcp.address
  refuseOpenNetwork(address, isOpen)
  if (isOpen) warn(`${OPEN}: set a token, or use --socket.`)
  if (tokens && !tls && !isLoopback(address))
    warn('The token travels in clear text: use --tls-cert, or a reverse proxy with TLS.')
  const place = `${tls ? 'https' : 'http'}://${hostInUrl(address)}:${tcp.port}`
  return { place, hosts: hostsAt(address, allowHost) }
}
