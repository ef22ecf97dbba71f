import type { Context } from 'hono'

/** What @hono/node-server hands to the app beside the request; other runtimes have none of it. */
export interface NodeBindings {
  incoming?: {
    rawHeaders?: readonly string[]
    httpVersionMajor?: number
    socket?: { destroyed: boolean; once(event: 'close', listener: () => void): unknown }
  }
}

const closings = new WeakMap<object, AbortSignal>()

/**
 * A signal that aborts when the client's connection closes. Over HTTP/1 on Node it is the socket's: a request whose
 * answer is queued behind others gets no event of its own. Elsewhere it is the request's.
 */
export const closeSignal = (c: Context): AbortSignal => {
  const { incoming }: NodeBindings = c.env ?? {}
  const socket = incoming?.socket
  if (!socket || incoming.httpVersionMajor !== 1) return c.req.raw.signal
  if (socket.destroyed) return AbortSignal.abort()
  const known = closings.get(socket)
  if (known) return known
  const closing = new AbortController()
  socket.once('close', () => closing.abort())
  closings.set(socket, closing.signal)
  return closing.signal
}
