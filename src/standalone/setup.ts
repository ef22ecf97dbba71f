import type { Context } from 'hono'
import { nodeSignaller } from '../node/node-signaller.ts'
import { mayKillOthers, procWarning } from '../node/proc.ts'
import { isLoopback } from './listen.ts'
import { SettingsError, warn } from './report.ts'
import type { Settings } from './settings.ts'

/**
 * Warns of what the settings leave open.
 *
 * @param host - the address that it listens on; undefined for a Unix domain socket.
 * @param publicAccess - why every local user can connect to that socket; undefined if they cannot.
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

/** If the policy needs what this system does not tell, the settings are wrong. */
const signallerOf = ({ protect, onlyUid }: Pick<Settings, 'protect' | 'onlyUid'>) => {
  try {
    return nodeSignaller({ protect, onlyUids: onlyUid })
  } catch (error) {
    throw error instanceof Error ? new SettingsError(error.message) : error
  }
}

/**
 * Answers a program's POST with its headers in a plain object, which the adapter passes to node:http as it is. A Headers
 * object, as in Hono's own `c.header` and `c.json`, makes a 200 cost a fifth more. It must be called first: headers that
 * were set before are lost. Answers to web pages (CORS) use Hono's own methods.
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

/** Turns the settings into the options of the app. `listening` is what is left: each entry must use it or refuse it. */
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
  /** Whether there are files to read again. */
  canReload: tokenFile !== undefined || listening.tls !== undefined,
  listening,
})

/** What is left when each setting is used: `rest satisfies Nothing` does not compile if one was forgotten. */
export type Nothing = Record<string, never>
