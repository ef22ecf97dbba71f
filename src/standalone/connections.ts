import { once } from 'node:events'
import { IncomingMessage, type Server, type ServerOptions, type ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import { endWaits } from '../app/connection.ts'

/** How long a stop waits for requests in flight, in milliseconds. */
export const GRACE_MS = 4000
/** How long a stop leaves idle connections open, in milliseconds: a request may be on its way. */
const IDLE_MS = 500
/** How long a client may take to read the last answer on its connection, in milliseconds. */
const LAST_ANSWER_MS = 5000
/** How many connections may be open: 500, and one for each of the 256 requests that may wait for an exit. */
const MAX_CONNECTIONS = 756
const MAX_HEADERS = 100
/** In how many pieces a body may arrive. The adapter keeps each piece until the last: a slow client could send millions. */
const MAX_PIECES = 128
const ON_NODE = !('Deno' in globalThis || 'Bun' in globalThis)

/** What to answer if a request cannot be parsed, by the code of the error. Anything else is a 400. */
const STATUS_LINES: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

type Listener = (incoming: IncomingMessage, outgoing: ServerResponse) => void

interface Connection {
  /** The latest answer, until the client has it. */
  answer?: ServerResponse
  /** How many bytes had arrived when the latest request began. */
  bytesRead?: number
  /** Whether the latest answer is the last one on this connection. */
  isEnding?: true
}

/**
 * Creates a server that handles one request at a time on each connection, and few connections at a time.
 *
 * - A request that arrives before the previous answer is dropped. The connection closes after that answer.
 * - If there are too many connections, the server closes the one that has kept it waiting longest.
 *
 * @param create - creates the server of node:http or node:https.
 * @returns
 *   - `server`, which does not listen yet.
 *   - `answerWith` sets the listener for requests.
 *   - `uploaded` resolves when every request that is being sent now has been answered or dropped.
 *   - `stop` accepts no more connections, and resolves when all are closed.
 */
export const serveConnections = (create: (options: ServerOptions) => Server) => {
  /** All connections. The first has kept the server waiting longest. */
  const connections = new Map<Socket, Connection>()
  let stopping = false

  /** The answer that is due on a connection. */
  const dueOn = (socket: Socket) => {
    const answer = connections.get(socket)?.answer
    return answer?.writableEnded ? undefined : answer
  }

  /** Whether a request that begins now is early: an answer is due, or the previous request came in the same packet. */
  const isEarlyOn = (socket: Socket) => {
    const connection = connections.get(socket)
    const { bytesRead } = socket
    const isEarly = !connection || dueOn(socket) !== undefined || connection.bytesRead === bytesRead
    if (connection) connection.bytesRead = bytesRead
    return isEarly
  }

  const server = create({
    headersTimeout: 5000,
    requestTimeout: 10_000,
    keepAliveTimeout: 5000,
    connectionsCheckingInterval: 1000,
    // Node would answer 400 to a request without Host, even if another answer is due.
    requireHostHeader: false,
    // One packet can contain thousands of requests. Node creates an object for each, even if the socket is destroyed.
    // But Node stops parsing at an upgrade request. So mark a request that comes too early as an upgrade.
    IncomingMessage: class extends IncomingMessage {
      readonly isEarly = ON_NODE && isEarlyOn(this.socket)
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
    },
  })
  // One more than allowed, to notice an excess: Node drops headers above its limit silently, an Origin for example.
  server.maxHeadersCount = MAX_HEADERS + 1

  /** Makes the latest answer the last one on its connection. If it is due, its wait ends. */
  const endAfterAnswer = (socket: Socket) => {
    const connection = connections.get(socket)
    if (connection?.isEnding) return
    if (connection) connection.isEnding = true
    const due = dueOn(socket)
    endWaits(socket)
    if (!due) socket.destroySoon()
    else if (due.headersSent) due.once('finish', () => socket.destroySoon())
    else due.setHeader('Connection', 'close')
    socket.on('error', () => socket.destroy())
    socket.setTimeout(LAST_ANSWER_MS, () => socket.destroy())
  }

  // Do not use the stream of the event: on Node 26 it is another one while the body of the request arrives.
  const onEarlyRequest = ({ socket }: IncomingMessage) => endAfterAnswer(socket)
  if (ON_NODE) server.on('upgrade', onEarlyRequest)
  server.on('connect', onEarlyRequest)

  server.on('clientError', ({ code = '' }: NodeJS.ErrnoException, socket: Socket) => {
    const due = dueOn(socket)
    if (due?.req.complete) return endAfterAnswer(socket)
    // A failed TLS handshake gets no answer.
    if (socket.writable && !due?.headersSent && /^(HPE|ERR_HTTP)_/.test(code))
      socket.write(`HTTP/1.1 ${STATUS_LINES[code] ?? '400 Bad Request'}\r\nConnection: close\r\n\r\n`)
    socket.destroySoon()
  })

  const makeWay = () => {
    for (const socket of connections.keys()) {
      // This client has sent its request, and waits for the answer.
      if (dueOn(socket)?.req.complete) continue
      connections.delete(socket)
      socket.destroy()
      return
    }
  }

  server.on('setSecureContext' in server ? 'secureConnection' : 'connection', (socket: Socket) => {
    connections.set(socket, {})
    socket.once('close', () => connections.delete(socket))
    if (connections.size > MAX_CONNECTIONS) makeWay()
  })

  const answerWith = (listener: Listener) => {
    const onRequest: Listener = (incoming, outgoing) => {
      const { socket, rawHeaders } = incoming
      if (socket.destroyed) return
      // Deno and Bun do not stop parsing.
      if (dueOn(socket)) return onEarlyRequest(incoming)
      const connection = connections.get(socket) ?? {}
      connection.answer = outgoing
      outgoing.once('finish', () => {
        if (connection.answer === outgoing) delete connection.answer
        // Move the connection to the end.
        if (connections.delete(socket) && !socket.destroyed) connections.set(socket, connection)
      })
      if (stopping) outgoing.setHeader('Connection', 'close')
      if (rawHeaders.length > 2 * MAX_HEADERS) outgoing.writeHead(431, { Connection: 'close' }).end()
      else listener(incoming, outgoing)
    }
    server.on('request', onRequest)
    // Ignore an unknown Expect (RFC 9110, section 10.1.1).
    server.on('checkExpectation', onRequest)
  }

  const dueAnswers = () => [...connections.keys()].map(dueOn).filter((due) => due !== undefined)

  const uploaded = () => Promise.all(dueAnswers().map((due) => due.req.complete || once(due, 'close')))

  const stop = async () => {
    stopping = true
    for (const due of dueAnswers()) if (!due.headersSent) due.setHeader('Connection', 'close')
    const closed = once(server, 'close')
    // close() of node:http also closes idle connections, but a request may be arriving. Bun has no other close().
    if ('Bun' in globalThis) setTimeout(() => server.close(), IDLE_MS)
    else NetServer.prototype.close.call(server)
    setTimeout(() => {
      server.closeIdleConnections()
      // To Node, a connection on which nothing has arrived yet is not idle.
      for (const [socket, { answer }] of connections) if (answer === undefined) socket.destroy()
    }, IDLE_MS)
    setTimeout(() => server.closeAllConnections(), GRACE_MS)
    await closed
  }

  return { server, answerWith, uploaded, stop }
}
