import type { Server } from 'node:http'
import type { Socket } from 'node:net'

const addressOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`

/**
 * Tells the connections from before a reload from those after it. Over TLS one begins with its handshake: however late
 * that ends, it goes by the certificates of then.
 *
 * @returns `isOld` tells whether there was a reload since a connection began, and `isOut` whether its time is up: `expel`
 * says so of all that are old. `isShaking` tells whether its handshake is not done, and `dropHandshakes` ends those under way.
 */
export const trackEpochs = (server: Server) => {
  let current = 0
  let oldest = 0
  const overTls = 'setSecureContext' in server
  const epochs = new WeakMap<Socket, number>()
  const epochOf = (socket: Socket) => epochs.get(socket) ?? current
  /** Of TLS Node tells two sockets, and not that they are one connection. */
  const handshakes = new Map<string, Socket>()

  server.on('connection', (socket) => {
    epochs.set(socket, current)
    if (!overTls) return
    const address = addressOf(socket)
    handshakes.set(address, socket)
    socket.once('close', () => handshakes.delete(address))
  })
  server.on('secureConnection', (socket: Socket) => {
    const begun = handshakes.get(addressOf(socket))
    // The address of a client that has left is gone.
    epochs.set(socket, begun ? epochOf(begun) : -1)
    handshakes.delete(addressOf(socket))
  })

  return {
    begin: () => {
      current++
    },
    expel: () => {
      oldest = current
    },
    isOld: (socket: Socket) => epochOf(socket) < current,
    isOut: (socket: Socket) => epochOf(socket) < oldest,
    isShaking: (socket: Socket) => overTls && !epochs.has(socket),
    dropHandshakes: () => {
      for (const socket of handshakes.values()) socket.destroy()
    },
  }
}
