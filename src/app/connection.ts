import type { Context } from 'hono'

interface Socket {
  destroyed: boolean
  once(event: 'close', listener: () => void): unknown
}

/** What @hono/node-server passes to the app with a request. Other runtimes pass none of this. */
export interface NodeBindings {
  incoming?: {
    rawHeaders?: readonly string[]
    readableDidRead?: boolean
    httpVersionMajor?: number
    socket?: Socket
  }
}

const closings = new WeakMap<Socket, AbortController>()

/** Aborts when the connection closes. */
const closingOf = (socket: Socket) => {
  const known = closings.get(socket)
  if (known) return known
  const closing = new AbortController()
  socket.once('close', () => closing.abort())
  closings.set(socket, closing)
  return closing
}

/**
 * Returns a signal that aborts when the client's connection closes.
 *
 * Over HTTP/1 on Node, all requests on a connection share one signal, because a queued request gets no close event.
 * Elsewhere, each request has its own.
 */
export const closeSignal = (c: Context): AbortSignal => {
  const { incoming }: NodeBindings = c.env ?? {}
  const socket = incoming?.socket
  if (!socket || incoming.httpVersionMajor !== 1) return c.req.raw.signal
  return socket.destroyed ? AbortSignal.abort() : closingOf(socket).signal
}

/** Ends the waits on a connection, as if the client had closed it. Later requests on the connection do not wait. */
export const endWaits = (socket: Socket) => closingOf(socket).abort()
