import type { Context } from 'hono'
import { nodeSignaller } from '../node/node-signaller.ts'
import { mayKillOthers, procWarning } from '../node/proc.ts'
import { isLoopback } from './listen.ts'
import { SettingsError, warn } from './report.ts'
import type { Settings } from './settings.ts'

/**
 * Warns if others can kill or read the token, and if /proc cannot be read.
 *
 * @param host - the address that the server listens on; undefined for a Unix domain socket.
 * @param publicAccess - why every local user can connect to the Unix domain socket; undefined if they cannot.
 */
export const warnAtStart = (
  { isOpen, protect, tokens, tls }: Settings,
  host: string | undefined,
  publicAccess?: string,
) => {
  const blind = procWarning(protect)
  if (blind !== undefined) warn(blind)
  const whose = mayKillOthers() ? 'any process' : 'any of your processes'
  if (isOpen && host !== undefined) warn(`Every local user can now kill ${whose}: set a token, or use --socket.`)
  if (isOpen && publicAccess !== undefined)
    warn(
      `Every local user can now kill ${whose} through the socket, because ${publicAccess}: set a token, or mode 0660.`,
    )
  if (tokens && !tls && host !== undefined && !isLoopback(host))
    warn('The token travels in clear text: use --tls-cert, or a reverse proxy with TLS.')
}

/** Makes the signaller. If --protect or --only-uid needs a /proc that is not there, the settings are wrong. */
const signallerOf = ({ protect, onlyUid }: Pick<Settings, 'protect' | 'onlyUid'>) => {
  try {
    return nodeSignaller({ protect, onlyUids: onlyUid })
  } catch (error) {
    throw error instanceof Error ? new SettingsError(error.message) : error
  }
}

/**
 * Replaces `c.header` and `c.json`, to put the headers of an answer into a plain object. The adapter passes that to
 * node:http as it is. Hono's own methods make a Headers object: a 200 then costs a fifth more. Call this first: headers
 * that were set before are lost. Requests with Origin keep Hono's own methods, because `cors` needs them.
 */
const plainHeaders = (c: Context) => {
  if (c.req.method !== 'POST' || c.req.header('origin') !== undefined) return
  const common: Record<string, string> = { 'Content-Type': 'application/json' }
  Object.assign(c, {
    header: (name: string, value: string) => {
      common[name] = value
    },
    json: (body: unknown, status: number, headers?: Record<string, string>) =>
      new Response(JSON.stringify(body), { status, headers: Object.assign(common, headers) }),
  })
}

/** Turns the settings into the options of the app. The entry file uses or refuses the rest, which is `listening`. */
export const setUp = ({
  hosts,
  allowHost: _inHosts,
  allowOrigin,
  tokens,
  tokenFile,
  allowProxy,
  isOpen,
  protect,
  onlyUid,
  quiet,
  ...listening
}: Settings) => ({
  options: {
    signaller: signallerOf({ protect, onlyUid }),
    hosts,
    allowProxy: allowProxy || !isOpen,
    origins: allowOrigin,
    prepare: plainHeaders,
  },
  quiet,
  /** Whether there are files that a reload reads again. */
  canReload: tokenFile !== undefined || listening.tls !== undefined,
  listening,
})

/** An object without properties: `rest satisfies Nothing` does not compile if a setting was forgotten. */
export type Nothing = Record<string, never>
