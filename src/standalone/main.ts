import { createServer, type Server } from 'node:http'
import process from 'node:process'
import { getRequestListener } from '@hono/node-server'
import packageJson from '../../package.json' with { type: 'json' }
import { nodeSignaller } from '../node/index.ts'
import { lineLog } from '../node/line-log.ts'
import { errorCode, mayKillOthers } from '../node/proc.ts'
import { clearStaleSocket } from '../node/unix-socket.ts'
import { createServerApp } from '../server/index.ts'
import { bracketed, HELP, OPEN_TO_LOCAL_USERS, readSettings, type Settings, SettingsError } from './settings.ts'

/** How long a stop waits for requests in flight, in milliseconds. */
const GRACE_MS = 4000

/** The head of a request must be here within 5 to 6 seconds, all of it within 10 to 11; idle connections close. */
const TIMEOUTS = {
  headersTimeout: 5000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
}

const warn = (text: string) => console.error(`psys-kill: ${text.replace(/\s+/g, ' ')}`)

// Loaded only where there is a token to compare, as node:crypto takes its time at the start.
const loadSha256 = async () => {
  const { createHash } = await import('node:crypto')
  return (text: string) => createHash('sha256').update(text).digest('hex')
}

const listen = async (server: Server, { host, port, socket }: Settings) => {
  if (socket !== undefined) {
    await clearStaleSocket(socket).catch((error: Error) => {
      throw new SettingsError(`Cannot listen on ${socket}: ${error.message}.`)
    })
  }
  return new Promise<string>((resolve, reject) => {
    const place = socket ?? bracketed(host)
    server.once('error', (error) => {
      const reason = errorCode(error) === 'EADDRINUSE' ? 'another program listens there' : error.message
      reject(new SettingsError(`Cannot listen on ${socket ?? `${place}:${port}`}: ${reason}.`))
    })
    const listening = () => {
      const address = server.address()
      resolve(typeof address === 'object' && address ? `http://${place}:${address.port}` : place)
    }
    if (socket === undefined) {
      server.listen(port, host, listening)
    } else {
      // The socket is made inside listen(); a chmod afterwards would leave it open to all for a moment.
      const umask = process.umask(0o117)
      server.listen(socket, listening)
      process.umask(umask)
    }
  })
}

const serve = async (settings: Settings) => {
  const { hosts, origins, token, protect, quiet, socket } = settings
  const log = lineLog(process.stdout)
  const stopping = new AbortController()
  const { fetch } = createServerApp({
    signaller: nodeSignaller({ protect }),
    stopping: stopping.signal,
    hosts,
    origins,
    ...(token !== undefined && { token, hashFunction: await loadSha256() }),
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

  const place = await listen(server, settings)
  if (token === undefined && socket === undefined && mayKillOthers()) warn(OPEN_TO_LOCAL_USERS)
  log.write(JSON.stringify({ time: new Date().toISOString(), message: `listening on ${place}` }))
}

const main = async () => {
  const settings = readSettings(process.argv.slice(2), process.env, warn)
  if (settings === 'help') process.stdout.write(HELP)
  else if (settings === 'version') process.stdout.write(`${packageJson.version}\n`)
  else await serve(settings)
}

main().catch((error: unknown) => {
  if (!(error instanceof SettingsError)) throw error
  warn(error.message)
  process.exitCode = 1
})
