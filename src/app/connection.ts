import type { Context } from 'hono'

/** What @hono/node-server passes to the app with a request. Other runtimes pass none of this. */
export interface NodeBindings {
  incoming?: {
    rawHeaders?: readonly string[]
    readableDidRead?: boolean
    httpVersionMajor?: number
    socket?: { destroyed: boolean; once(event: 'close', listener: () => void): unknown }
  }
}

const closings = new WeakMap<object, AbortController>()

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
  if (socket.destroyed) return AbortSignal.abort()
  const known = closings.get(socket)
  if (known) return known.signal
  const closing = new AbortController()
  socket.once('close', () => closing.abort())
  closings.set(socket, closing)
  return closing.signal
}

/** Ends the waits on a connection, as if the client had closed it. Later requests on the connection do not wait. */
export const endWaits = (socket: object) => {
  const closing = closings.get(socket) ?? new AbortController()
  closings.set(socket, closing)
  closing.abort()
}
