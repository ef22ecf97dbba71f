import { createServer } from 'node:http'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { setFlagsFromString } from 'node:v8'
import packageJson from '../../package.json' with { type: 'json' }
import { lineLog } from '../node/line-log.ts'
import type { AccessLogOptions } from '../server/access-log.ts'
import { createServerApp } from '../server/server-app.ts'
import { requireCertificate } from './client-certificate.ts'
import { GRACE_MS, trackConnections } from './connections.ts'
import { HELP } from './help.ts'
import { hostsAt } from './host.ts'
import { listen } from './listen.ts'
import { answerWith } from './listener.ts'
import { readSettings, type Settings } from './settings.ts'
import { messageOf } from './settings-error.ts'
import { fail, serverParts, warn, warnAtStart } from './start.ts'
import { tlsServer } from './tls.ts'
import { tokenGuard } from './token-guard.ts'

/** The head of a request must be here within 5 to 6 seconds, all of it within 10 to 11; idle connections close. */
const HTTP_OPTIONS = {
  headersTimeout: 5000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
  // A request without Host gets the answer of the Host check rather than Node's.
  requireHostHeader: false,
}

/** How long a stop waits for a reader that stalls, in milliseconds. */
const FLUSH_MS = 1000

/**
 * Keeps V8's heap near what is alive. By default a flood of requests leaves garbage faster than V8 would collect it:
 * 2,000 pipelined waits a connection, each closed at once, took 340 MB, and 155 with this.
 */
const boundHeap = () => setFlagsFromString('--heap-growing-percent=30')

const readOwnSettings = () => readSettings(process.argv.slice(2), process.env, warn)

const serve = async (settings: Settings) => {
  boundHeap()
  const {
    options: { token, ...options },
    quiet,
    canReload,
    listening,
  } = serverParts(settings)
  const output = lineLog(process.stdout)
  const say = (message: string) => output.write(JSON.stringify({ time: new Date().toISOString(), message }), true)
  const log: AccessLogOptions = {
    write: output.write,
    quiet,
    remoteAddress: (c) => c.env.incoming.socket.remoteAddress,
  }
  const stopping = new AbortController()
  const tls = listening.tls && (await tlsServer(listening.tls, HTTP_OPTIONS, warn))
  const tokens = token === undefined ? undefined : await tokenGuard(token)
  const guards = [
    ...(listening.tls?.clientCa === undefined ? [] : [requireCertificate]),
    ...(tokens ? [tokens.guard] : []),
  ]
  const server = tls?.server ?? createServer(HTTP_OPTIONS)
  // All headers, whose size is bounded: Node would drop some without a word, an Origin among them.
  server.maxHeadersCount = 0
  const { stop, renew, ...connections } = trackConnections(server)

  const end = async (signal: NodeJS.Signals) => {
    if (stopping.signal.aborted) return
    say(`stopping on ${signal}`)
    setTimeout(() => process.exit(0), GRACE_MS + 500)
    const closed = stop()
    stopping.abort()
    await closed
    await Promise.race([output.flush(), sleep(FLUSH_MS)])
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end)

  const reload = async () => {
    if (stopping.signal.aborted) return
    try {
      const next = readOwnSettings()
      tls?.renew()
      // All that can be wrong has been found by now.
      if (typeof next !== 'string' && next.token !== undefined) tokens?.renew(next.token)
    } catch (error) {
      say(`not reloaded: ${messageOf(error)}`)
      return
    }
    await renew()
    say('reloaded')
  }
  // A closing terminal sends it too; asked for now, as it is none any more by then.
  process.on('SIGHUP', canReload && !isatty(0) ? reload : end)

  // What a socket of systemd's is, is known only now. No request is read before this turn of the event loop ends.
  const { host, place } = await listen(server, listening)
  const hosts = hostsAt(host, settings.isOpen, settings.allowHost)
  const app = createServerApp({ ...options, hosts, guards, stopping: stopping.signal, log })
  answerWith(server, { app, log, ...connections })
  warnAtStart(settings, host)
  say(`listening on ${place}`)
}

const main = async () => {
  const settings = readOwnSettings()
  if (settings === 'help') process.stdout.write(HELP)
  else if (settings === 'version') process.stdout.write(`${packageJson.version}\n`)
  else await serve(settings)
}

main().catch(fail)
