import { parseArgs } from 'node:util'
import * as z from 'zod/mini'
import { hostsAt } from './host.ts'
import { messageOf, SettingsError } from './settings-error.ts'
import { type Options, optionOf, SETTINGS, variableOf } from './settings-table.ts'
import { handedSocket } from './socket-activation.ts'
import { readToken } from './token-file.ts'
import { type Environment, refuseUnknownVariables } from './unknown-variable.ts'

const schema = z.object(SETTINGS)

const parseCommandLine = (args: readonly string[]) => {
  const options: Options = {
    ...Object.fromEntries(Object.entries(SETTINGS).map(([name, { option }]) => [optionOf(name), option])),
    help: { type: 'boolean', short: 'h' },
    version: { type: 'boolean', short: 'v' },
  }
  try {
    return parseArgs({ args: [...args], options }).values
  } catch (error) {
    // Its first sentence names the option; the others are about quoting. What is no option may be a secret, gone astray.
    const [reason] = messageOf(error)
      .replace("' argument is ambiguous.", "' needs a value; write one that begins with a dash behind an equals sign.")
      .split(/(?<=^Unexpected argument) |\.\s|\n/)
    throw new SettingsError(`${reason}. See --help.`)
  }
}

/**
 * The settings of the server, from the command line and the environment; the former wins.
 *
 * @returns `help` or `version` where the command line asks for it, else the settings, checked.
 * @throws {SettingsError} for an unknown option or variable, a value that is wrong or empty, two places to listen on, a
 * token that no request could match, half of what TLS needs, and an address beyond loopback without a token or a client CA.
 */
export const readSettings = (args: readonly string[], env: Environment, warn: (text: string) => void) => {
  const line = parseCommandLine(args)
  if (line['help']) return 'help'
  if (line['version']) return 'version'
  const names = Object.keys(SETTINGS)
  refuseUnknownVariables(env, [...names.map(variableOf), 'PSYS_KILL_TOKEN'])

  const givenFor = (name: string) => {
    const values = [line[optionOf(name)] ?? env[variableOf(name)]].flat()
    return values.length > 1 ? values : values[0]
  }
  const { data, error } = z.safeParse(schema, Object.fromEntries(names.map((name) => [name, givenFor(name)])))
  if (error) {
    const [name = '', { takes } = SETTINGS.host] =
      Object.entries(SETTINGS).find(([key]) => key === error.issues[0]?.path[0]) ?? []
    const both = `--${optionOf(name)} (${variableOf(name)})`
    throw new SettingsError(`${both} takes ${takes}, not ${JSON.stringify(givenFor(name))}.`)
  }
  const { tlsCert: cert, tlsKey: key, tlsClientCa: clientCa, allowHost, ...settings } = data

  // PORT does not count, as platforms set it. No --port wins over PSYS_KILL_SOCKET: it would open what was closed.
  const address = line['host'] ?? line['port'] ?? (line['socket'] ? undefined : env['PSYS_KILL_HOST'])
  const onSocket = settings.socket !== undefined
  if (onSocket && address !== undefined)
    throw new SettingsError('A socket (--socket, PSYS_KILL_SOCKET) has no host and no port; keep one of them.')
  const fd = handedSocket(env, onSocket || address !== undefined)

  const tls = cert !== undefined && key !== undefined ? { cert, key, clientCa } : undefined
  if (!tls && (cert ?? key ?? clientCa) !== undefined)
    throw new SettingsError('TLS needs both --tls-cert and --tls-key.')
  if (tls && onSocket) throw new SettingsError('A socket (--socket, PSYS_KILL_SOCKET) has no TLS; keep one of them.')

  const token = readToken(settings.tokenFile, env['PSYS_KILL_TOKEN'], warn)
  const host = settings.host.replace(/^\[(.*)\]$/, '$1')
  /** Whether it answers whoever reaches it. */
  const isOpen = token === undefined && clientCa === undefined
  /** The hosts to answer; undefined: any. For a socket that is handed over they are known once it is served. */
  const hosts = hostsAt(onSocket ? undefined : host, isOpen, allowHost)
  return { ...settings, fd, host, tls, token, isOpen, allowHost, hosts }
}

export type Settings = Exclude<ReturnType<typeof readSettings>, string>
