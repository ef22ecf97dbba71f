import process from 'node:process'
import { nodeSignaller } from '../node/node-signaller.ts'
import { mayKillOthers, procWarning } from '../node/proc.ts'
import { plainHeaders } from './plain-headers.ts'
import type { Settings } from './settings.ts'
import { SettingsError } from './settings-error.ts'

/** Says something in one line on standard error. */
export const warn = (text: string) => console.error(`psys-kill: ${text.replace(/[\s\p{Cc}]+/gu, ' ')}`)

/** Says in one line why the server cannot start, and ends the process; throws what is another error. */
export const fail = (error: unknown): never => {
  if (!(error instanceof SettingsError)) throw error
  warn(error.message)
  process.exit(1)
}

/**
 * Warns where /proc cannot be read, and where everybody on this machine may ask a server that may kill everything.
 *
 * @param host - to listen on; undefined: a Unix domain socket.
 */
export const warnAtStart = ({ isOpen, protect }: Settings, host: string | undefined) => {
  const blind = procWarning(protect)
  if (blind !== undefined) warn(blind)
  if (isOpen && host !== undefined && mayKillOthers())
    warn('Every local user can now kill processes of others: set a token, or use --socket.')
}

/** What policy needs and this system does not tell is a matter of the settings. */
const signallerOf = ({ protect, onlyUid }: Pick<Settings, 'protect' | 'onlyUid'>) => {
  try {
    return nodeSignaller({ protect, onlyUids: onlyUid })
  } catch (error) {
    throw error instanceof Error ? new SettingsError(error.message) : error
  }
}

/** How many requests may wait for an exit at once: with 3,000 a flood of them, with large headers, took 219 MB. */
const MAX_WAITS = 2000

/** What a server is made of, whatever it runs on; `listening` is what is left, for each entry to use or to refuse. */
export const serverParts = ({
  hosts,
  allowHost: _inHosts,
  allowOrigin,
  token,
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
    token,
    maxWaits: MAX_WAITS,
    prepare: plainHeaders,
  },
  quiet,
  /** Whether there are files to read again. */
  canReload: tokenFile !== undefined || listening.tls !== undefined,
  listening,
})

export type Listening = ReturnType<typeof serverParts>['listening']

/** What is left once each setting has its use: `rest satisfies Nothing` does not compile where one was forgotten. */
export type Nothing = Record<string, never>
