import process from 'node:process'
import { Hono } from 'hono'
import { refusals } from '../app/answers.ts'
import { lineLog, nodeSignaller } from '../node/index.ts'
import { mayKillOthers } from '../node/proc.ts'
import { type AccessLogOptions, accessLog } from '../server/access-log.ts'
import { createServerApp } from '../server/index.ts'
import { OPEN_TO_LOCAL_USERS, readSettings, SettingsError } from './settings.ts'

/** What the runtime hands to `fetch` beside the request: Deno the connection, Bun the server. */
interface Bindings {
  remoteAddr?: { hostname?: string }
  requestIP?: (request: Request) => { address: string } | null
}

const warn = (text: string) => console.error(`psys-kill: ${text.replace(/\s+/g, ' ')}`)

const settingsOrExit = () => {
  try {
    const settings = readSettings(process.argv.slice(2), process.env, warn)
    if (typeof settings !== 'string' && settings.socket === undefined) return settings
    throw new SettingsError('The single file has --socket, --help and --version; this entry does not.')
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error
    warn(error.message)
    process.exit(1)
  }
}

const remoteAddress = (request: Request, bindings: Bindings = {}) =>
  bindings.remoteAddr?.hostname ?? bindings.requestIP?.(request)?.address

const { host, port, hosts, origins, token, protect, quiet } = settingsOrExit()
if (token === undefined && mayKillOthers()) warn(OPEN_TO_LOCAL_USERS)
const log = {
  write: lineLog(process.stdout).write,
  quiet,
  remoteAddress: (c) => remoteAddress(c.req.raw, c.env),
} satisfies AccessLogOptions

const app = createServerApp({ signaller: nodeSignaller({ protect }), log, hosts, origins, token })
const closed = new Hono().use(accessLog(log)).all('*', (c) => refusals.host.send(c))

// `deno serve` listens on all interfaces unless it is told --host: to forget that must not let the network in.
const mayCall = (address = '') => token !== undefined || /^(::ffff:)?127\.|^::1$/.test(address)

/** The server for `deno serve` and for Bun, which both take it from a default export. */
export default {
  fetch: (request: Request, bindings?: Bindings) =>
    (mayCall(remoteAddress(request, bindings)) ? app : closed).fetch(request, bindings),
  hostname: host,
  port,
}
