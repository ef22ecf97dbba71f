import { once } from 'node:events'
import { lstatSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { errorCode } from './error-code.ts'

const isServed = async (path: string) => {
  // As { path }, since connect('38080') is a port.
  const probe = connect({ path })
  try {
    await once(probe, 'connect')
    return true
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return false
    throw new Error(`Cannot tell whether a server holds ${path}: ${code ?? error}`)
  } finally {
    probe.destroy()
  }
}

/**
 * Makes way for a Unix domain socket: removes the one that a dead server left behind.
 *
 * @param path - of the socket; nothing happens where there is no such file.
 * @throws {Error} where the path is a live server's, or no socket, which stays as it is.
 *
 * @example
 * ```ts
 * import { clearStaleSocket } from 'psys-kill/node'
 *
 * await clearStaleSocket('/run/psys-kill.sock')
 * ```
 */
export const clearStaleSocket = async (path: string) => {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (!found) return
  if (!found.isSocket()) throw new Error(`${path} is not a socket; remove it or choose another path`)
  if (await isServed(path)) throw new Error(`${path} is in use by another server`)
  // Another server may have taken the path in the meantime.
  if (lstatSync(path, { throwIfNoEntry: false })?.ctimeMs === found.ctimeMs) unlinkSync(path)
}
