import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'

/** How long a stop waits for requests in flight, in milliseconds. */
export const GRACE_MS = 4000
/** How long it leaves idle connections open, in milliseconds: the next request may be on its way. */
const IDLE_MS = 500

/**
 * Keeps what a stop needs that fails no request: from then on each connection closes behind an answer that says so
 * (`Connection: close`, RFC 9112 section 9.6), and what a client sends behind that answer is not obeyed.
 *
 * @returns `accepts` is to be asked about every request; `stop` takes no more connections and resolves when all of
 * them have closed, after 4 seconds at the latest.
 */
export const stopper = (server: Server) => {
  const newest = new Map<Socket, ServerResponse>()
  const last = new WeakSet<ServerResponse>()
  let stopping = false
  server.on('connection', (socket) => socket.once('close', () => newest.delete(socket)))

  const endWith = (outgoing: ServerResponse) => {
    if (outgoing.headersSent) return
    outgoing.setHeader('Connection', 'close')
    last.add(outgoing)
  }

  const accepts = ({ socket }: IncomingMessage, outgoing: ServerResponse) => {
    const before = newest.get(socket)
    if (stopping) {
      if (before && last.has(before)) {
        // Another one is queued behind it: the connection is to close behind that.
        if (before.headersSent) return false
        before.removeHeader('Connection')
        last.delete(before)
      }
      endWith(outgoing)
    }
    newest.set(socket, outgoing)
    return true
  }

  const stop = () => {
    stopping = true
    for (const outgoing of newest.values()) endWith(outgoing)
    const closed = new Promise<void>((resolve) => server.once('close', resolve))
    // The close of node:http would drop connections on which a request is just arriving. Bun has that one alone.
    if ('Bun' in globalThis) setTimeout(() => server.close(), IDLE_MS)
    else NetServer.prototype.close.call(server)
    setTimeout(() => server.closeIdleConnections(), IDLE_MS)
    setTimeout(() => server.closeAllConnections(), GRACE_MS)
    return closed
  }

  return { accepts, stop }
}
