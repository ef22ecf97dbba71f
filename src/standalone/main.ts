import { createServer, type Server } from 'node:http'
import process from 'node:process'
import { getRequestListener } from '@hono/node-server'
import packageJson from '../../package.json' with { type: 'json' }
import { lineLog } from '../node/line-log.ts'
import { errorCode } from '../node/proc.ts'
import { clearStaleSocket } from '../node/unix-socket.ts'
import { createServerApp } from '../server/index.ts'
import { hostInUrl } from './host.ts'
import { HELP, readSettings, type Settings } from './settings.ts'
import { SettingsError } from './settings-error.ts'
import { fail, type Listening, type Nothing, serverParts, warn, warnIfOpen } from './start.ts'

/** How long a stop waits for requests in flight, in milliseconds. */
const GRACE_MS = 4000

/** How many connections may wait to be accepted. */
const BACKLOG = 4096

/** The head of a request must be here within 5 to 6 seconds, all of it within 10 to 11; idle connections close. */
const TIMEOUTS = {
  headersTimeout: 5000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
}

// Loaded only where there is a token to compare, as node:crypto takes its time at the start.
const loadSha256 = async () => {
  const { createHash } = await import('node:crypto')
  return (text: string) => createHash('sha256').update(text).digest('hex')
}

const listen = async (server: Server, { host, port, socket, ...rest }: Listening) => {
  rest satisfies Nothing
  if (socket !== undefined) {
    await clearStaleSocket(socket).catch((error: Error) => {
      throw new SettingsError(`Cannot listen on ${socket}: ${error.message}.`)
    })
  }
  return new Promise<string>((resolve, reject) => {
    const place = socket ?? hostInUrl(host)
    server.once('error', (error) => {
      const reason = errorCode(error) === 'EADDRINUSE' ? 'another program listens there' : error.message
      reject(new SettingsError(`Cannot listen on ${socket ?? `${place}:${port}`}: ${reason}.`))
    })
    const listening = () => {
      const address = server.address()
      resolve(typeof address === 'object' && address ? `http://${place}:${address.port}` : place)
    }
    if (socket === undefined) {
      server.listen({ host, port, backlog: BACKLOG }, listening)
    } else {
      // The socket is made inside listen(); a chmod afterwards would leave it open to all for a moment.
      const umask = process.umask(0o117)
      server.listen({ path: socket, backlog: BACKLOG }, listening)
      process.umask(umask)
    }
  })
}

const serve = async (settings: Settings) => {
  const { options, quiet, listening } = serverParts(settings)
  const log = lineLog(process.stdout)
  const stopping = new AbortController()
  const { fetch } = createServerApp({
    ...options,
    stopping: stopping.signal,
    ...(options.token !== undefined && { hashFunction: await loadSha256() }),
    log: { write: log.write, quiet, remoteAddress: (c) => c.env.incoming.socket.remoteAddress },
  })
  // A request without Host gets the answer of the Host check rather than Node's.
  const server = createServer(
    { ...TIMEOUTS, requireHostHeader: false },
    getRequestListener(fetch, { hostname: 'localhost' }),
  )

  const stop = () => {
    if (stopping.signal.aborted) process.exit(0)
    stopping.abort()
    server.close(() => log.flush().then(() => process.exit(0)))
    // A connection that was kept alive for the request in flight is idle once that is answered.
    setInterval(() => server.closeIdleConnections(), 50)
    setTimeout(() => server.closeAllConnections(), GRACE_MS)
    setTimeout(() => process.exit(0), GRACE_MS + 500)
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)

  const place = await listen(server, listening)
  warnIfOpen(settings)
  log.write(JSON.stringify({ time: new Date().toISOString(), message: `listening on ${place}` }))
}

const main = async () => {
  const settings = readSettings(process.argv.slice(2), process.env, warn)
  if (settings === 'help') process.stdout.write(HELP)
  else if (settings === 'version') process.stdout.write(`${packageJson.version}\n`)
  else await serve(settings)
}

main().catch(fail)
