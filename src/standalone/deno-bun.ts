import process from 'node:process'
import type { GetConnInfo } from 'hono/conninfo'
import { serverAnswers } from '../app/contract.ts'
import { lineLog } from '../node/log.ts'
import { type Check, guard } from '../server/guards.ts'
import { createServerApp } from '../server/server-app.ts'
import { fail, SettingsError, warn } from './report.ts'
import { askedFor, readSettings } from './settings.ts'
import { type Nothing, setUp, warnAtStart } from './setup.ts'

/** How long Bun leaves a connection open without traffic, in seconds: longer than any `waitMs`. */
const IDLE_TIMEOUT = 70

const settingsOrExit = () => {
  try {
    const args = process.argv.slice(2)
    const settings = readSettings(args, process.env, warn)
    if (!askedFor(args) && settings.socket === undefined && settings.fd === undefined && !settings.tls)
      return { settings, ...setUp(settings) }
    throw new SettingsError(
      'Only the single file has --socket, --tls-…, --help and --version, and takes over a socket of systemd.',
    )
  } catch (error) {
    return fail(error)
  }
}

const { settings, options, quiet, listening } = settingsOrExit()
const { host, port, socket: _noSocket, fd: _noFd, tls: _noTls, ...rest } = listening
rest satisfies Nothing
warnAtStart(settings, host)

// Each of these modules throws in the other runtime.
const { getConnInfo }: { getConnInfo: GetConnInfo } = await import('Bun' in globalThis ? 'hono/bun' : 'hono/deno')

// `deno serve` listens on all interfaces unless it gets --host. A forgotten --host must not let the network in.
const checkAddress: Check = (c) => {
  const { address = '' } = getConnInfo(c).remote
  if (!settings.isOpen || /^(::ffff:)?127\.|^::1$/.test(address)) return undefined
  return { row: serverAnswers.host, reason: 'address' }
}

const log = { write: lineLog(process.stdout).write, quiet, getConnInfo }
const { fetch } = createServerApp({ ...options, token: settings.tokens, guards: [guard([checkAddress])], log })

/** The server for `deno serve` and for Bun. Both take it from a default export. */
export default { fetch, hostname: host, port, idleTimeout: IDLE_TIMEOUT }
