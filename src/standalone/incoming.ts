import { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'

/** In how many pieces a body may arrive. The adapter keeps all until the last: a slow client could send millions. */
const MAX_PIECES = 128

export const ON_NODE = !('Deno' in globalThis || 'Bun' in globalThis)

/**
 * Returns the class for the requests of a server that handles one request at a time on each connection.
 *
 * One packet can contain thousands of requests. Node creates an object for each, even if the socket is destroyed. But
 * Node stops parsing at an upgrade request. So the class calls a request an upgrade if it comes too early. Deno and Bun
 * do not stop parsing.
 *
 * @param isBusy - whether a connection takes no request now.
 */
export const oneAtATime = (isBusy: (socket: Socket) => boolean) => {
  /** How many bytes had arrived when the latest request of a connection began. */
  const bytesAtStart = new WeakMap<Socket, number>()

  /** Whether a request that begins now comes before the previous answer, or in the packet of the previous request. */
  const comesEarly = (socket: Socket) => {
    const isSamePacket = bytesAtStart.get(socket) === socket.bytesRead
    bytesAtStart.set(socket, socket.bytesRead)
    return isSamePacket || isBusy(socket)
  }

  return class extends IncomingMessage {
    readonly isEarly = ON_NODE && comesEarly(this.socket)
    pieces = 0

    get upgrade() {
      return this.isEarly || this.method === 'CONNECT'
    }
    set upgrade(_: boolean) {}

    override push(chunk: unknown) {
      if (chunk === null || ++this.pieces <= MAX_PIECES) return super.push(chunk)
      this.destroy()
      return false
    }
  }
}
