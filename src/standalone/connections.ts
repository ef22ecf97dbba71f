import { once } from 'node:events'
import type { RequestListener, Server, ServerOptions, ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import { endWaits } from '../app/connection.ts'
import { ON_NODE, oneAtATime } from './incoming.ts'

/** How long a stop waits for requests in flight, in milliseconds. */
export const GRACE_MS = 4000
/** How long a stop leaves idle connections open (not on Bun), in milliseconds: a request may be on its way. */
const IDLE_MS = 500
/** How long a client may take to read the last answer on its connection, in milliseconds. */
const LAST_ANSWER_MS = 5000
/** How many connections may be open: 500, and one for each of the 256 requests that may wait for an exit. */
const MAX_CONNECTIONS = 756
const MAX_HEADERS = 100

/** What to answer if a request cannot be parsed, by the code of the error. Anything else is a 400. */
const STATUS_LINES: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

/**
 * Creates a server that handles one request at a time on each connection, and limits how many connections are open.
 *
 * - A request that arrives before the previous answer is dropped. The connection closes after that answer.
 * - If there are too many connections, the server closes the one that has kept it waiting longest.
 *
 * @param create - creates the server of node:http or node:https.
 * @returns
 *   - `server`, which does not listen yet.
 *   - `answerWith` sets the listener for requests.
 *   - `uploaded` resolves when every request that is being sent now has been answered or dropped.
 *   - `stop` accepts no more connections, ends the waits, and resolves when all connections are closed.
 */
export const serveConnections = (create: (options: ServerOptions) => Server) => {
  /** All connections, and the answer on each until the client has it. The first has kept the server waiting longest. */
  const connections = new Map<Socket, ServerResponse | undefined>()
  /** The connections that close after their answer. */
  const ending = new WeakSet<Socket>()

  /** The answer that is due on a connection. */
  const dueOn = (socket: Socket) => {
    const answer = connections.get(socket)
    return answer?.writableEnded ? undefined : answer
  }

  const server = create({
    headersTimeout: 5000,
    requestTimeout: 10_000,
    keepAliveTimeout: 5000,
    connectionsCheckingInterval: 1000,
    // Bun and Deno would answer 400 to a request without Host, even if another answer is due.
    requireHostHeader: false,
    IncomingMessage: oneAtATime((socket) => ending.has(socket) || dueOn(socket) !== undefined),
  })
  // One more than allowed, to notice an excess: Node drops headers above its limit silently, an Origin for example.
  server.maxHeadersCount = MAX_HEADERS + 1

  /** Closes a connection after its answer. If the answer is due, its wait ends. */
  const endAfterAnswer = (socket: Socket) => {
    if (ending.has(socket)) return
    ending.add(socket)
    const due = dueOn(socket)
    endWaits(socket)
    if (!due) socket.destroySoon()
    else if (due.headersSent) due.once('finish', () => socket.destroySoon())
    else due.setHeader('Connection', 'close')
    socket.on('error', () => socket.destroy())
    socket.setTimeout(LAST_ANSWER_MS, () => socket.destroy())
  }

  // Use the socket of the request. The stream of the event is another one on Node 26, while the body arrives.
  if (ON_NODE) server.on('upgrade', ({ socket }) => endAfterAnswer(socket))
  server.on('connect', ({ socket }) => endAfterAnswer(socket))

  server.on('clientError', ({ code = '' }: NodeJS.ErrnoException, socket: Socket) => {
    const due = dueOn(socket)
    if (due?.req.complete) return endAfterAnswer(socket)
    // A failed TLS handshake gets no answer.
    if (socket.writable && !due?.headersSent && /^(HPE|ERR_HTTP)_/.test(code))
      socket.write(`HTTP/1.1 ${STATUS_LINES[code] ?? '400 Bad Request'}\r\nConnection: close\r\n\r\n`)
    socket.destroySoon()
  })

  server.on('setSecureContext' in server ? 'secureConnection' : 'connection', (socket: Socket) => {
    connections.set(socket, undefined)
    socket.once('close', () => connections.delete(socket))
    if (connections.size <= MAX_CONNECTIONS) return
    // A client that has sent its request waits for the server. Close the first that has not.
    const slowest = [...connections.keys()].find((other) => !other.destroyed && !dueOn(other)?.req.complete)
    slowest?.destroy()
  })

  const answerWith = (listener: RequestListener) => {
    const onRequest: RequestListener = (incoming, outgoing) => {
      const { socket, rawHeaders } = incoming
      if (socket.destroyed) return
      // Deno and Bun do not stop parsing.
      if (dueOn(socket)) return endAfterAnswer(socket)
      connections.set(socket, outgoing)
      outgoing.once('finish', () => {
        if (connections.get(socket) !== outgoing) return
        // Move the connection to the end.
        connections.delete(socket)
        if (!socket.destroyed) connections.set(socket, undefined)
      })
      if (!server.listening) endAfterAnswer(socket)
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
    for (const socket of connections.keys()) if (dueOn(socket)) endAfterAnswer(socket)
    // close() of node:http also closes idle connections, but a request may be arriving. Bun has no other.
    if ('Bun' in globalThis) server.close()
    else NetServer.prototype.close.call(server)
    setTimeout(() => {
      // closeIdleConnections() would leave a connection open on which nothing has arrived yet.
      for (const [socket, answer] of connections) if (answer === undefined) socket.destroy()
    }, IDLE_MS)
    setTimeout(() => server.closeAllConnections(), GRACE_MS)
    await once(server, 'close')
  }

  return { server, answerWith, uploaded, stop }
}
