import { type IncomingMessage, type Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { getRequestListener, RequestError } from '@hono/node-server'
import type { Hono } from 'hono'
import { answers, serverAnswers } from '../app/answers.ts'
import type { AccessLogOptions } from '../server/access-log.ts'
import { createClosedApp } from '../server/server-app.ts'

interface Bindings {
  incoming: IncomingMessage
  outgoing: ServerResponse
}

interface Answering {
  app: Hono
  log: AccessLogOptions
  /** Whether to answer a request at all. */
  accepts: (incoming: IncomingMessage, outgoing: ServerResponse) => boolean
  /** Calls back when all answers on a connection are out. */
  whenFree: (socket: Socket, callback: () => void) => void
  /** Whether a reload has ended the time of a connection. */
  isOut: (socket: Socket) => boolean
}

/** Stands for the host in the URL of a request that names none; no setting can allow it. */
const NO_HOST = 'no-host.invalid'

const isHost = (host = '') =>
  host === '' || (/^([\w.-]+|\[[\da-f:.]+\])(:\d+)?$/i.test(host) && URL.canParse(`http://${host}`))
const isTarget = (target: string) => /^\/[^\\]*(\?|$)/.test(target)

/** All of them, as the checks read more than Host. */
const headersOf = ({ rawHeaders }: IncomingMessage) => {
  const headers = new Headers()
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i] ?? '', rawHeaders[i + 1] ?? '')
  return headers
}

const unexpected = (cause: unknown) => {
  console.error(cause)
  return Response.json(answers.failed.body, { status: answers.failed.status })
}

/**
 * Lets a server of Node's answer with an app. What parses as HTTP and can be no Request (an unusable Host or target,
 * `OPTIONS *`, CONNECT) is refused on record and in JSON too; an Expect that is not known is passed over (RFC 9110,
 * section 10.1.1, permits that).
 */
export const answerWith = (server: Server, { app, log, accepts, whenFree, isOut }: Answering) => {
  const wrongHost = createClosedApp(
    log,
    serverAnswers.host,
    (c) => `host ${JSON.stringify(c.env.incoming.headers.host)}`,
  )
  const wrongMethod = createClosedApp(log, answers['bad method'], () => 'method')

  const refuse = ({ incoming, outgoing }: Bindings) => {
    const { method, headers, url = '' } = incoming
    // Where the target is fine, the Host is not.
    const hostIsWrong = !isHost(headers.host) || isTarget(url)
    const own = method === 'CONNECT' ? wrongMethod : hostIsWrong ? wrongHost : app
    // An unusable target is a path that is not there; the app has its checks before it says so.
    const host = hostIsWrong ? NO_HOST : headers.host || NO_HOST
    const scheme = 'encrypted' in incoming.socket ? 'https' : 'http'
    const request = new Request(`${scheme}://${host}${isTarget(url) ? url : `/${encodeURIComponent(url)}`}`, {
      headers: headersOf(incoming),
    })
    // The constructor takes no CONNECT.
    Object.defineProperty(request, 'method', { value: method })
    return own.fetch(request, { incoming, outgoing })
  }

  // The adapter tells its errorHandler the error alone, in the same turn as the request.
  let current: Bindings
  const adapter = getRequestListener(app.fetch, {
    hostname: NO_HOST,
    errorHandler: (error) => {
      try {
        return error instanceof RequestError ? refuse(current) : unexpected(error)
      } catch (cause) {
        return unexpected(cause)
      }
    },
  })
  const answer = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    current = { incoming, outgoing }
    adapter(incoming, outgoing)
  }
  const listener = (incoming: IncomingMessage, outgoing: ServerResponse) => {
    if (accepts(incoming, outgoing)) answer(incoming, outgoing)
  }

  server.on('request', listener)
  server.on('checkExpectation', listener)
  server.on('checkContinue', (incoming: IncomingMessage, outgoing: ServerResponse) => {
    if (!accepts(incoming, outgoing)) return
    const proceed = () => {
      if (isOut(incoming.socket)) return incoming.socket.destroySoon()
      outgoing.writeContinue()
      answer(incoming, outgoing)
    }
    // Behind an answer that is not out yet, Node would write the 100 into the middle of the next.
    if (outgoing.socket) proceed()
    else outgoing.once('socket', proceed)
  })
  server.on('connect', (incoming: IncomingMessage) => {
    const { socket } = incoming
    // Node has let go of it, and of its time limits; a wait in front of it may take a minute.
    socket.on('error', () => socket.destroy())
    socket.setTimeout(65_000, () => socket.destroy())
    whenFree(socket, () => {
      if (!socket.writable) return
      const outgoing = new ServerResponse(incoming)
      outgoing.assignSocket(socket)
      outgoing.setHeader('Connection', 'close')
      outgoing.once('finish', () => socket.destroySoon())
      answer(incoming, outgoing)
    })
  })
}
