import { once } from 'node:events'
import type { Server } from 'node:http'
import process from 'node:process'
import { errorCode } from '../node/proc.ts'
import { clearStaleSocket } from '../node/unix-socket.ts'
import { hostInUrl } from './host.ts'
import { SettingsError } from './settings-error.ts'
import type { Listening, Nothing } from './start.ts'

/** How many connections may wait to be accepted; with Node's 511, a third of 2,000 at once waited a second. */
const BACKLOG = 4096

/**
 * Listens where the settings say, and on nothing else.
 *
 * @returns where it listens: `http://HOST:PORT`, `https://…`, or the path of the socket.
 * @throws {SettingsError} where it cannot.
 */
export const listen = async (server: Server, { host, port, socket, tls, ...rest }: Listening) => {
  rest satisfies Nothing
  const listening = once(server, 'listening')
  try {
    if (socket === undefined) server.listen({ host, port, backlog: BACKLOG })
    else {
      await clearStaleSocket(socket)
      // The socket is made inside listen(); a chmod afterwards would leave it open to all for a moment.
      const umask = process.umask(0o117)
      server.listen({ path: socket, backlog: BACKLOG })
      process.umask(umask)
    }
    await listening
  } catch (error) {
    const place = socket ?? `${hostInUrl(host)}:${port}`
    const reason =
      errorCode(error) === 'EADDRINUSE'
        ? 'another program listens there'
        : error instanceof Error
          ? error.message
          : String(error)
    throw new SettingsError(`Cannot listen on ${place}: ${reason}.`)
  }
  const address = server.address()
  return (
    socket ?? `${tls ? 'https' : 'http'}://${hostInUrl(host)}:${typeof address === 'object' ? address?.port : port}`
  )
}
