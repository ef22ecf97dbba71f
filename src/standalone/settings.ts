import { parseArgs } from 'node:util'
import * as z from 'zod/mini'
import { handedSocket, refuseOpenNetwork } from './listen.ts'
import { type Options, optionOf, SETTINGS, variableOf } from './options.ts'
import { messageOf, SettingsError } from './report.ts'
import { readTokens } from './secrets.ts'

const schema = z.object(SETTINGS)
const NAMES = Object.keys(SETTINGS)

/** The options on a command line, unchecked. Throws a SettingsError for an unknown one. */
export const parseCommandLine = (args: readonly string[]) => {
  const options: Options = {
    ...Object.fromEntries(Object.entries(SETTINGS).map(([name, { option }]) => [optionOf(name), option])),
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'v' },
  }
  try {
    return parseArgs({ args: [...args], options }).values
  } catch (error) {
    // parseArgs has no better text: keep its first sentence, which names the option. Anything else in quotes may be a
    // misplaced secret.
    const [reason = ''] = messageOf(error)
      .replace(/^(Unexpected argument).*/s, '$1: write --NAME VALUE; --quiet and --allow-proxy take no value')
      .replace("' argument is ambiguous.", "' needs a value; write --NAME=VALUE if the value begins with a dash.")
      .split(/\.\s|\n/)
    throw new SettingsError(`${reason.replace(/ '(?!--?[a-z-]{1,15}( <value>)?'(?!\S)).*/s, '')}. See --help.`)
  }
}

/** The variables that Kubernetes adds to a pod for a Service called `psys-kill…`. */
const OF_SERVICE = /_SERVICE_(HOST|PORT)[_=]|_PORT(=\w+:\/\/|_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)/

const KNOWN = [...NAMES.map(variableOf), 'PSYS_KILL_TOKEN']

const isUnknown = ([name, value]: [string, string | undefined]) =>
  name.startsWith('PSYS_KILL_') && !KNOWN.includes(name) && !OF_SERVICE.test(`${name}=${value}`)

/**
 * Reads the settings from the command line and the environment. The command line wins.
 *
 * @throws {SettingsError} if a setting is unknown or wrong, if settings contradict each other, or if an open server
 *   would listen beyond loopback.
 */
export const readSettings = (args: readonly string[], env: NodeJS.ProcessEnv) => {
  const line = parseCommandLine(args)
  const unknown = Object.entries(env).find(isUnknown)
  if (unknown) throw new SettingsError(`Unknown variable ${unknown[0]}. See --help.`)

  const givenFor = (name: string) => {
    const values = [line[optionOf(name)] ?? env[variableOf(name)]].flat()
    return values.length > 1 ? values : values[0]
  }
  const { data, error } = z.safeParse(schema, Object.fromEntries(NAMES.map((name) => [name, givenFor(name)])))
  if (error) {
    const name = error.issues[0]?.path[0] as keyof typeof SETTINGS
    throw new SettingsError(`--${optionOf(name)} (${variableOf(name)}) takes ${SETTINGS[name].takes}.`)
  }
  const { tlsCert: cert, tlsKey: key, tlsClientCa: clientCa, ...settings } = data

  // The variable PORT does not conflict with a socket, because platforms set it. --port does: if it won over
  // PSYS_KILL_SOCKET, the server would listen on the network.
  const onTcp = (line['host'] ?? line['port'] ?? (line['socket'] ? undefined : env['PSYS_KILL_HOST'])) !== undefined
  const onSocket = settings.socket !== undefined
  if (onSocket && onTcp) throw new SettingsError('Set --socket, or --host and --port, not both (or their variables).')
  const fd = handedSocket(env, onSocket || onTcp)

  const tls = cert && key ? { cert, key, clientCa } : undefined
  if (!tls && (cert ?? key ?? clientCa)) throw new SettingsError('TLS needs both --tls-cert and --tls-key.')
  if (tls && onSocket) throw new SettingsError('Set --socket or --tls-…, not both: a socket has no TLS.')

  const tokens = readTokens(settings.tokenFile, env['PSYS_KILL_TOKEN'])
  const host = settings.host.replace(/^\[(.*)\]$/, '$1')
  /** Whether the server accepts kills from everybody who reaches it. */
  const isOpen = tokens === undefined && clientCa === undefined
  if (!onSocket) refuseOpenNetwork(host, isOpen)
  return { ...settings, fd, host, tls, tokens, isOpen }
}

export type Settings = ReturnType<typeof readSettings>
