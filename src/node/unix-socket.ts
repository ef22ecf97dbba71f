import { lstatSync, unlinkSync } from 'node:fs'
import { connect } from 'node:net'
import { errorCode } from './proc.ts'

const isServed = (path: string) =>
  new Promise<boolean>((resolve, reject) => {
    // As { path }, since connect('38080') is a port.
    const probe = connect({ path })
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', (error) => {
      if (errorCode(error) === 'ECONNREFUSED') resolve(false)
      else reject(new Error(`Cannot tell whether a server holds ${path}: ${error.message}`))
    })
  })

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
  // Another server may have taken the path while we asked.
  if (lstatSync(path, { throwIfNoEntry: false })?.ctimeMs === found.ctimeMs) unlinkSync(path)
}
