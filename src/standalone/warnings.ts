import { procWarning } from '../node/proc.ts'
import { isLoopback } from './listen.ts'
import { warn } from './report.ts'
import type { Settings } from './settings.ts'

/**
 * Warns if every local user can kill, if the network can read the token, and if /proc cannot be read.
 *
 * @param host - the address that the server listens on; undefined for a Unix domain socket.
 * @param publicAccess - why every local user can connect to the Unix domain socket; undefined if they cannot.
 */
export const warnAtStart = (
  { isOpen, tokens, tls }: Settings,
  host: string | undefined,
  publicAccess: string | undefined,
) => {
  const blind = procWarning()
  if (blind !== undefined) warn(blind)
  const open = 'Every local user can now kill whatever this server may kill'
  if (isOpen && host !== undefined) warn(`${open}: set a token, or use --socket.`)
  if (isOpen && publicAccess !== undefined)
    warn(`${open} through the socket, because ${publicAccess}: set a token, or mode 0660.`)
  if (tokens && !tls && host !== undefined && !isLoopback(host))
    warn('The token travels in clear text: use --tls-cert, or a reverse proxy with TLS.')
}
