import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Server as NetServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { trackEpochs } from './epochs.ts'

/** How long a stop waits for requests in flight, in milliseconds. */
export const GRACE_MS = 4000
/** How long a stop or a reload leaves idle connections open, in milliseconds: the next request may be on its way. */
const IDLE_MS = 500
/** How many requests may be queued behind others of their connections, on all of them: what one client sends is bounded. */
const MAX_QUEUED = 2000

interface Connection {
  /** The newest request on it. */
  incoming: IncomingMessage
  outgoing: ServerResponse
  /** How many of its requests are queued behind another one. */
  queued: number
}

/** What Node answers to what it cannot parse, by the code of the error; anything else is a 400. */
const STATUS_LINES: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: '431 Request Header Fields Too Large',
  HPE_CHUNK_EXTENSIONS_OVERFLOW: '413 Payload Too Large',
  ERR_HTTP_REQUEST_TIMEOUT: '408 Request Timeout',
}

/**
 * Keeps track of the newest request on each connection, so that no answer to a signal is lost: a stop closes each behind
 * an answer that says so (RFC 9112, 9.6) and obeys nothing after it; what cannot be parsed is answered if none is due.
 *
 * @returns `accepts` is to be asked about every request; `whenFree` calls back when all answers on a connection are out;
 * `renew` closes all like that, takes new ones, and resolves when the old ones are out (`isOut`); `stop` takes no more.
 */
export const trackConnections = (server: Server) => {
  const connections = new Map<Socket, Connection>()
  const last = new WeakSet<ServerResponse>()
  const epochs = trackEpochs(server)
  let stopping = false
  let queued = 0

  const endWith = (outgoing: ServerResponse) => {
    if (outgoing.headersSent) return
    outgoing.setHeader('Connection', 'close')
    last.add(outgoing)
  }

  const track = (socket: Socket, connection: Connection) => {
    connections.set(socket, connection)
    socket.once('close', () => {
      queued -= connection.queued
      connections.delete(socket)
    })
    return connection
  }

  /** Counts a request whose answer must wait for others; false where there are too many of them. */
  const enqueue = (connection: Connection, outgoing: ServerResponse) => {
    if (queued >= MAX_QUEUED) return false
    queued++
    connection.queued++
    outgoing.once('socket', () => {
      queued--
      connection.queued--
    })
    return true
  }

  const accepts = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    const { socket } = incoming
    const known = connections.get(socket)
    // On a known one an answer may be on its way.
    if (epochs.isOut(socket) && !known) socket.destroy()
    if (socket.destroyed || epochs.isOut(socket)) return false
    const connection = known ?? track(socket, { incoming, outgoing, queued: 0 })
    const before = connection.outgoing
    if (last.has(before) && before !== outgoing) {
      // What comes behind the answer that closes the connection; unless that is still to be written.
      if (before.headersSent || !stopping) return false
      before.removeHeader('Connection')
      last.delete(before)
    }
    if (!outgoing.socket && !enqueue(connection, outgoing)) {
      socket.destroy()
      return false
    }
    // Node swallows what comes in one packet behind a request to upgrade.
    const { connection: options = '', upgrade } = incoming.headers
    if (stopping || epochs.isOld(socket) || (upgrade !== undefined && /upgrade/i.test(options))) endWith(outgoing)
    Object.assign(connection, { incoming, outgoing })
    return true
  }

  /** The newest answer on a connection, if it is not out yet and can still come. */
  const dueOn = (socket: Socket) => {
    const { incoming, outgoing } = connections.get(socket) ?? {}
    return incoming?.complete && !outgoing?.writableFinished ? outgoing : undefined
  }

  const whenFree = (socket: Socket, callback: () => void) => {
    const due = dueOn(socket)
    if (due) due.once('finish', callback)
    else callback()
  }

  server.on('clientError', (error: Error & { code?: string }, socket: Socket) => {
    if (epochs.isShaking(socket)) socket.destroy()
    const due = dueOn(socket)
    if (due) endWith(due)
    // A client that does not read its answers is not waited for.
    if (due?.writableEnded) setTimeout(() => socket.destroy(), IDLE_MS)
    whenFree(socket, () => {
      if (!due && !connections.get(socket)?.queued && socket.writable)
        socket.write(`HTTP/1.1 ${STATUS_LINES[error.code ?? ''] ?? '400 Bad Request'}\r\nConnection: close\r\n\r\n`)
      socket.destroySoon()
    })
  })

  const renew = async () => {
    epochs.begin()
    for (const { outgoing } of connections.values()) endWith(outgoing)
    await sleep(IDLE_MS)
    epochs.expel()
    for (const [socket, { incoming, outgoing }] of connections) {
      if (!epochs.isOut(socket)) continue
      if (outgoing.writableFinished) socket.destroySoon()
      // Who may send it was asked at its head, before the reload.
      else if (!incoming.complete) socket.destroy()
      else outgoing.once('finish', () => socket.destroySoon())
    }
  }

  const stop = () => {
    stopping = true
    for (const { outgoing } of connections.values()) endWith(outgoing)
    const closed = new Promise<void>((resolve) => server.once('close', resolve))
    // The close of node:http would drop connections on which a request is just arriving. Bun has that one alone.
    if ('Bun' in globalThis) setTimeout(() => server.close(), IDLE_MS)
    else NetServer.prototype.close.call(server)
    setTimeout(() => server.closeIdleConnections(), IDLE_MS)
    setTimeout(epochs.dropHandshakes, IDLE_MS)
    setTimeout(() => {
      server.closeAllConnections()
      for (const socket of connections.keys()) socket.destroy()
    }, GRACE_MS)
    return closed
  }

  return { accepts, whenFree, isOut: epochs.isOut, renew, stop }
}
