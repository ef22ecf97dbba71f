import { once } from 'node:events'
import { Agent, request } from 'node:https'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { KILL } from './post.ts'

export interface Asking {
  method?: string
  path?: string
  headers?: Readonly<Record<string, string | undefined>>
  body?: unknown
  /** Default: a connection of its own. */
  agent?: Agent
}

/** Asks a server over TLS with what a client has: its certificate and key, the authority it trusts. */
export const askTls = async (
  url: string,
  client: ConnectionOptions,
  { method = 'POST', path = KILL, headers = {}, body = {}, agent = new Agent({ ...client }) }: Asking = {},
) => {
  const all = Object.entries({ 'content-type': 'application/json', ...headers }).filter(
    ([, value]) => value !== undefined,
  )
  const sending = request(url + path, { method, agent, headers: Object.fromEntries(all) })
  sending.end(typeof body === 'string' ? body : JSON.stringify(body))
  const [response] = await once(sending, 'response')
  let text = ''
  for await (const chunk of response) text += chunk
  const { statusCode, headers: received } = response
  return { status: Number(statusCode), text, headers: received, connection: received.connection }
}

/** A connection over TLS on which a test says what it likes. */
export const openTls = async (url: string, options: ConnectionOptions) => {
  const { hostname, port } = new URL(url)
  const socket: TLSSocket = connect({ host: hostname, port: Number(port), ...options })
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk
  })
  const closed = new Promise<string>((resolve) => socket.once('close', () => resolve(text)))
  return {
    socket,
    closed,
    /** Resolves with all received once it matches. */
    until: (pattern: RegExp) =>
      new Promise<string>((resolve, reject) => {
        const look = () => pattern.test(text) && resolve(text)
        socket.on('data', look)
        closed.then(() => reject(new Error(`Closed after ${JSON.stringify(text)}`)))
        look()
      }),
    [Symbol.dispose]: () => socket.destroy(),
  }
}
