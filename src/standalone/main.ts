import { createServer } from 'node:http'
import { isatty } from 'node:tty'
import { getRequestListener } from '@hono/node-server'
import { getConnInfo } from '@hono/node-server/conninfo'
import type { MiddlewareHandler } from 'hono'
import packageJson from '../../package.json' with { type: 'json' }
import { lineLog } from '../node/log.ts'
import { nodeSignaller } from '../node/node-signaller.ts'
import { onLinux } from '../node/proc.ts'
import { createServerApp } from '../server/server-app.ts'
import { requireToken } from '../server/token.ts'
import { GRACE_MS, serveConnections } from './connections.ts'
import { listen } from './listen.ts'
import { HELP } from './options.ts'
import { plainHeaders } from './plain-headers.ts'
import { messageOf, orExplain, SettingsError, warn } from './report.ts'
import { parseCommandLine, readSettings, type Settings } from './settings.ts'
import { prepareTls, requireCertificate } from './tls.ts'

const readOwnSettings = () => readSettings(process.argv.slice(2), process.env)

const serve = async (settings: Settings) => {
  const { isOpen, quiet, protect, onlyUid, tokenFile, tls: tlsFiles } = settings
  const signaller = orExplain('Cannot start', () => nodeSignaller({ protect, onlyUids: onlyUid }))
  const output = lineLog(process.stdout)
  const say = (message: string) => output.write(JSON.stringify({ time: new Date().toISOString(), message }), true)
  const tls = tlsFiles && prepareTls(tlsFiles)
  // A reload replaces the check.
  const token = settings.tokens && { check: requireToken(settings.tokens) }
  const checkToken: MiddlewareHandler[] = token ? [(c, next) => token.check(c, next)] : []
  const guards = [...(tlsFiles?.clientCa === undefined ? [] : [requireCertificate]), ...checkToken]
  const { server, answerWith, uploaded, stop } = serveConnections(tls?.create ?? createServer)

  let stopping = false
  const end = async (signal: NodeJS.Signals) => {
    if (stopping) return
    stopping = true
    say(`stopping on ${signal}`)
    // If nobody reads the log, the flush never ends.
    setTimeout(() => process.exit(0), GRACE_MS + 500)
    await stop()
    await output.flush()
    process.exit(0)
  }

  const reload = async () => {
    if (stopping) return
    try {
      const { tokens } = readOwnSettings()
      // If a file is wrong, this or the line above throws, before anything changes.
      const validUntil = tls?.renew()
      if (token && tokens) token.check = requireToken(tokens)
      await uploaded()
      const renewed = [
        tokens && `tokens ${Object.keys(tokens).join(', ') || 'without a name'}`,
        validUntil && `certificate valid until ${validUntil}`,
        tlsFiles?.clientCa && 'not the client CA, which takes a restart',
      ]
      say(`reloaded: ${renewed.filter(Boolean).join('; ')}`)
    } catch (error) {
      say(`not reloaded: ${messageOf(error)}`)
    }
  }

  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, end)
  // A closing terminal also sends SIGHUP. Call isatty now: after the close, it returns false.
  process.on('SIGHUP', (tokenFile ?? tlsFiles) && !isatty(0) ? reload : end)

  // Only a listening server knows the address of a systemd socket. So the app is created now, in the same turn of the
  // event loop, before a request is read.
  const { place, hosts } = await listen(server, settings)
  const app = createServerApp({
    signaller,
    log: { write: output.write, quiet, getConnInfo },
    hosts,
    allowProxy: settings.allowProxy || !isOpen,
    origins: settings.allowOrigin,
    prepare: plainHeaders,
    guards,
  })
  answerWith(getRequestListener(app.fetch))
  if (onLinux() && !signaller.supports.includes('command'))
    warn('Cannot use /proc: zombies and threads look like processes, and with --protect nothing is killed.')
  say(`listening on ${place}`)
}

const main = async () => {
  const asked = parseCommandLine(process.argv.slice(2))
  if (asked['help']) process.stdout.write(HELP)
  else if (asked['version']) process.stdout.write(`${packageJson.version}\n`)
  else await serve(readOwnSettings())
}

main().catch((error) => {
  if (!(error instanceof SettingsError)) throw error
  warn(error.message)
  process.exit(1)
})
