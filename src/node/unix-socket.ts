import { once } from 'node:events'
import { lstatSync, readFileSync, readlinkSync, statSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { errorCode, orUndefined } from './proc.ts'

/**
 * Removes the Unix domain socket that a dead server left behind.
 *
 * @param path - the path of the socket. If there is no such file, nothing happens.
 * @throws {Error} if a live server holds the socket, or the file is not a socket. The file then stays.
 *
 * @example
 * ```ts
 * import { clearStaleSocket } from 'psys-kill/node'
 *
 * await clearStaleSocket('/run/psys-kill.sock')
 * ```
 */
export const clearStaleSocket = async (path: string) => {
  // On Windows the path is a named pipe, which leaves no file.
  if (process.platform === 'win32') return
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (!found) return
  if (!found.isSocket()) throw new Error(`${path} is not a socket; remove it or choose another path`)
  // Pass an object: connect('38080') would take the path for a port.
  const probe = connect({ path })
  const state = await once(probe, 'connect').then(() => 'in use by another server', errorCode)
  probe.destroy()
  if (state !== 'ECONNREFUSED' && state !== 'ENOENT') throw new Error(`${path} cannot be replaced: ${state}`)
  // Another server may have taken the path in the meantime.
  if (lstatSync(path, { throwIfNoEntry: false })?.ctimeMs === found.ctimeMs) unlinkSync(path)
}

/** The path of a bound socket: /proc/net/unix lists paths by inode. The path of an abstract socket begins with @. */
const pathOf = (fd: number) => {
  const [, inode = 'none'] = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`)) ?? []
  return new RegExp(` ${inode} (\\S.*)$`, 'm').exec(readFileSync('/proc/net/unix', 'utf8'))?.[1] ?? ''
}

/**
 * Tells why every local user can connect to a Unix domain socket. Undefined if they cannot, or if the system does not
 * tell.
 *
 * @param socket - the path of the socket, or its descriptor if systemd handed it over.
 */
export const publicAccess = (socket: string | number) =>
  orUndefined(() => {
    const path = typeof socket === 'number' ? pathOf(socket) : socket
    if (path.startsWith('@')) return 'it is abstract and has no mode'
    // To connect, a user needs write permission (unix(7)).
    const { mode } = statSync(path)
    return process.platform !== 'win32' && mode & 0o002 ? `its mode is 0${(mode & 0o777).toString(8)}` : undefined
  })
