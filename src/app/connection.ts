import type { Context } from 'hono'

interface Socket {
  destroyed: boolean
  once(event: 'close', listener: () => void): unknown
}

/** The parts of a node:http request that psys-kill reads. */
interface Incoming {
  rawHeaders?: readonly string[]
  readableDidRead?: boolean
  httpVersionMajor?: number
  socket?: Socket
}

/** The request of node:http, as @hono/node-server passes it to the app. Undefined on other runtimes. */
export const incomingOf = (c: Context): Incoming | undefined => c.env?.incoming

const closings = new WeakMap<Socket, AbortController>()

/** The controller that aborts when the connection closes. Each socket has one. */
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
 * Over HTTP/1 on Node, all requests on a connection share one signal: a request that comes early gets no close event of
 * its own. Elsewhere, each request has its own signal.
 */
export const closeSignal = (c: Context): AbortSignal => {
  const { socket, httpVersionMajor } = incomingOf(c) ?? {}
  if (!socket || httpVersionMajor !== 1) return c.req.raw.signal
  return socket.destroyed ? AbortSignal.abort() : closingOf(socket).signal
}

/** Ends the waits on a connection, as if the client had closed it. Later requests on the connection do not wait. */
export const endWaits = (socket: Socket) => closingOf(socket).abort()
