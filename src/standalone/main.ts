import { createServer } from 'node:http'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { isatty } from 'node:tty'
import { getRequestListener } from '@hono/node-server'
import { getConnInfo } from '@hono/node-server/conninfo'
import type { MiddlewareHandler } from 'hono'
import packageJson from '../../package.json' with { type: 'json' }
import { lineLog } from '../node/log.ts'
import { createServerApp } from '../server/server-app.ts'
import { requireToken } from '../server/token.ts'
import { GRACE_MS, serveConnections } from './connections.ts'
import { hostsAt, listen } from './listen.ts'
import { HELP } from './options.ts'
import { fail, messageOf, warn } from './report.ts'
import type { NamedTokens } from './secrets.ts'
import { askedFor, readSettings, type Settings } from './settings.ts'
import { type Nothing, setUp, warnAtStart } from './setup.ts'
import { prepareTls, requireCertificate } from './tls.ts'

/** How long a stop waits for a log reader that stalls, in milliseconds. */
const FLUSH_MS = 1000

const readOwnSettings = () => readSettings(process.argv.slice(2), process.env, warn)

/** A check of the token, which a reload can replace. */
const replaceableCheck = (tokens: NamedTokens) => {
  let check = requireToken(tokens)
  const guard: MiddlewareHandler = (c, next) => check(c, next)
  const replace = (others: NamedTokens) => {
    check = requireToken(others)
  }
  return { guard, replace }
}

const serve = async (settings: Settings) => {
  const { options, quiet, canReload, listening } = setUp(settings)
  const { fd, host, port, socket, tls: tlsFiles, ...rest } = listening
  rest satisfies Nothing
  const output = lineLog(process.stdout)
  const say = (message: string) => output.write(JSON.stringify({ time: new Date().toISOString(), message }), true)
  const stopping = new AbortController()
  const tls = tlsFiles && (await prepareTls(tlsFiles, warn))
  const token = settings.tokens && replaceableCheck(settings.tokens)
  const guards = [...(tlsFiles?.clientCa === undefined ? [] : [requireCertificate]), ...(token ? [token.guard] : [])]
  const { server, answerWith, uploaded, stop } = serveConnections(tls?.create ?? createServer)

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
      const { tokens } = readOwnSettings()
      // If a file is wrong, this or the line above throws, before anything changes.
      const certificate = tls?.renew()
      if (tokens) token?.replace(tokens)
      await uploaded()
      const counts = [
        ...(tokens ? [`tokens ${Object.keys(tokens).join(', ') || 'without a name'}`] : []),
        ...(certificate ? [`certificate valid until ${certificate.until}`] : []),
      ]
      say(`reloaded: ${counts.join('; ')}`)
      if (certificate?.clientCaChanged) say('the client CA file has changed: restart to apply it')
    } catch (error) {
      say(`not reloaded: ${messageOf(error)}`)
    }
  }
  // A closing terminal also sends SIGHUP. Call isatty now: after the close, it returns false.
  process.on('SIGHUP', canReload && !isatty(0) ? reload : end)

  // Only a listening server knows the address of a systemd socket. So the app is created now, in the same turn of the
  // event loop, before a request is read.
  const { host: address, place, publicAccess } = await listen(server, { fd, host, port, socket })
  const hosts = hostsAt(address, settings.isOpen, settings.allowHost)
  const log = { write: output.write, quiet, getConnInfo }
  const app = createServerApp({ ...options, hosts, guards, stopping: stopping.signal, log })
  answerWith(getRequestListener(app.fetch))
  warnAtStart(settings, address, publicAccess)
  say(`listening on ${place}`)
}

const main = async () => {
  const asked = askedFor(process.argv.slice(2))
  if (asked === 'help') process.stdout.write(HELP)
  else if (asked === 'version') process.stdout.write(`${packageJson.version}\n`)
  else await serve(readOwnSettings())
}

main().catch(fail)
