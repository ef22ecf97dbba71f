import process from 'node:process'
import { serverAnswers } from '../app/answers.ts'
import { lineLog } from '../node/line-log.ts'
import type { AccessLogOptions } from '../server/access-log.ts'
import { createClosedApp, createServerApp } from '../server/server-app.ts'
import { readSettings } from './settings.ts'
import { SettingsError } from './settings-error.ts'
import { fail, type Nothing, serverParts, warn, warnAtStart } from './start.ts'

/** What the runtime hands to `fetch` beside the request: Deno the connection, Bun the server. */
interface Bindings {
  remoteAddr?: { hostname?: string }
  requestIP?: (request: Request) => { address: string } | null
}

const partsOrExit = () => {
  try {
    const settings = readSettings(process.argv.slice(2), process.env, warn)
    if (typeof settings !== 'string' && settings.socket === undefined && settings.fd === undefined && !settings.tls)
      return { settings, ...serverParts(settings) }
    throw new SettingsError(
      'Only the single file has --socket, --tls-…, --help and --version, and takes over a socket of systemd.',
    )
  } catch (error) {
    return fail(error)
  }
}

const remoteAddress = (request: Request, bindings: Bindings = {}) =>
  bindings.remoteAddr?.hostname ?? bindings.requestIP?.(request)?.address

const { settings, options, quiet, listening } = partsOrExit()
const { host, port, socket: _noSocket, fd: _noFd, tls: _noTls, ...rest } = listening
rest satisfies Nothing
warnAtStart(settings, host)
const log = {
  write: lineLog(process.stdout).write,
  quiet,
  remoteAddress: (c) => remoteAddress(c.req.raw, c.env),
} satisfies AccessLogOptions

const app = createServerApp({ ...options, log })
const closed = createClosedApp(log, serverAnswers.host, () => 'peer')

// `deno serve` listens on all interfaces unless it is told --host: to forget that must not let the network in.
const mayCall = (address = '') => options.token !== undefined || /^(::ffff:)?127\.|^::1$/.test(address)

/** The server for `deno serve` and for Bun, which both take it from a default export. */
export default {
  fetch: (request: Request, bindings?: Bindings) =>
    (mayCall(remoteAddress(request, bindings)) ? app : closed).fetch(request, bindings),
  hostname: host,
  port,
}
