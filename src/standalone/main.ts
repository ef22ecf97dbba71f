import { createServer } from 'node:http'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import packageJson from '../../package.json' with { type: 'json' }
import { lineLog } from '../node/line-log.ts'
import type { AccessLogOptions } from '../server/access-log.ts'
import { createServerApp } from '../server/server-app.ts'
import { GRACE_MS, trackConnections } from './connections.ts'
import { listen } from './listen.ts'
import { answerWith } from './listener.ts'
import { HELP, readSettings, type Settings } from './settings.ts'
import { fail, serverParts, warn, warnAtStart } from './start.ts'

/** The head of a request must be here within 5 to 6 seconds, all of it within 10 to 11; idle connections close. */
const TIMEOUTS = {
  headersTimeout: 5000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
}

/** How long a stop waits for a reader that stalls, in milliseconds. */
const FLUSH_MS = 1000

/**
 * Keeps V8's heap near what is alive. By default a flood of requests leaves garbage faster than V8 would collect it:
 * 2,000 pipelined waits a connection, each closed at once, took 340 MB, and 140 with this.
 */
const boundHeap = () => {
  setFlagsFromString('--heap-growing-percent=30')
  setFlagsFromString('--semi-space-growth-factor=1')
}

// Loaded only where there is a token to compare, as node:crypto takes its time at the start.
const loadSha256 = async () => {
  const { createHash } = await import('node:crypto')
  return (text: string) => createHash('sha256').update(text).digest('hex')
}

const serve = async (settings: Settings) => {
  boundHeap()
  const { options, quiet, listening } = serverParts(settings)
  const output = lineLog(process.stdout)
  const log: AccessLogOptions = {
    write: output.write,
    quiet,
    remoteAddress: (c) => c.env.incoming.socket.remoteAddress,
  }
  const stopping = new AbortController()
  const app = createServerApp({
    ...options,
    stopping: stopping.signal,
    ...(options.token !== undefined && { hashFunction: await loadSha256() }),
    log,
  })
  // A request without Host gets the answer of the Host check rather than Node's.
  const server = createServer({ ...TIMEOUTS, requireHostHeader: false })
  // All headers, whose size is bounded: Node would drop some without a word, an Origin among them.
  server.maxHeadersCount = 0
  const { stop, ...connections } = trackConnections(server)
  answerWith(server, { app, log, ...connections })

  const end = async () => {
    if (stopping.signal.aborted) return
    setTimeout(() => process.exit(0), GRACE_MS + 500)
    const closed = stop()
    stopping.abort()
    await closed
    await Promise.race([output.flush(), sleep(FLUSH_MS)])
    process.exit(0)
  }
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, end)

  const place = await listen(server, listening)
  warnAtStart(settings)
  output.write(JSON.stringify({ time: new Date().toISOString(), message: `listening on ${place}` }))
}

const main = async () => {
  const settings = readSettings(process.argv.slice(2), process.env, warn)
  if (settings === 'help') process.stdout.write(HELP)
  else if (settings === 'version') process.stdout.write(`${packageJson.version}\n`)
  else await serve(settings)
}

main().catch(fail)
