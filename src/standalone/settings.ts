import { type ParseArgsConfig, parseArgs } from 'node:util'
import * as z from 'zod/mini'
import { fromDigits } from '../app/kill-request.ts'
import { MAX_PID } from '../app/signaller.ts'
import { hostsAt } from './host.ts'
import { messageOf, SettingsError } from './settings-error.ts'
import { handedSocket } from './socket-activation.ts'
import { readToken } from './token-file.ts'
import { type Environment, refuseUnknownVariables } from './unknown-variable.ts'

type Options = NonNullable<ParseArgsConfig['options']>
const STRINGS: Options[string] = { type: 'string', multiple: true }

/** A setting: the schema of its value, which also carries what `--help` and parseArgs have to know. */
const one = <Schema extends z.ZodMiniType>(schema: Schema, takes: string, use: string, option = STRINGS) =>
  Object.assign(schema, { takes, use, option })

/** Several values, which come one by one, with commas between them, or both. */
const list = <Item extends z.ZodMiniType<unknown, string | number>>(item: Item, takes: string, use: string) => {
  const split = z.transform((values: string | string[]): (string | number)[] => String(values).split(/\s*,\s*/))
  return one(z.optional(z.pipe(split, z.array(item))), takes, use)
}

/** An option without a value. */
const flag = (use: string) => {
  const given = z.transform((value: unknown = false) => value === '1' || value)
  return one(z.pipe(given, z.boolean()), '1, or no value as an option', use, { type: 'boolean' })
}

const otherwise = <Schema extends z.ZodMiniType<unknown, string | number>>(value: string, schema: Schema) =>
  z.pipe(
    z.transform((given: string = value): string | number => given),
    schema,
  )

const text = z.string().check(z.regex(/^[^\0]*[^\0\s][^\0]*$/))
const integer = (min: number, max: number) => z.pipe(fromDigits, z.int().check(z.minimum(min), z.maximum(max)))
// A bare 38080 would be a port to listen(); what is longer than the address of a socket (unix(7)) would be cut off.
const asPath = z.overwrite((path: string) => (path.includes('/') ? path : `./${path}`))
const socketPath = text.check(
  asPath,
  z.refine((path) => Buffer.byteLength(path) <= 103),
)
const hostName = z.string().check(z.regex(/^([a-z0-9._-]+|\[[0-9a-f:.]+\])$/))
const isOrigin = (value: string) => /^https?:\/\//.test(value) && URL.canParse(value) && new URL(value).origin === value
const origin = z.string().check(z.refine(isOrigin))

// A name has a letter, and no space around it: else it is a PID that went wrong, or no process has it.
const isPidOrName = (value: number | string) =>
  typeof value === 'number' ? value > 0 && value <= MAX_PID : /^(?!\s)[^\0]*\p{L}[^\0]*(?<!\s)$/u.test(value)
const pidOrName = fromDigits.check(z.refine(isPidOrName))

/** All settings: `tokenFile` is the option `--token-file` and the variable `PSYS_KILL_TOKEN_FILE`, and so on. */
const SETTINGS = {
  host: one(otherwise('127.0.0.1', text), 'an address', 'beyond loopback only with a token or client CA [127.0.0.1]'),
  port: one(
    otherwise('3000', integer(0, 65_535)),
    'a number from 0 to 65535',
    'listen on it; 0 is any free one [3000]',
  ),
  socket: one(z.optional(socketPath), 'a path of at most 103 bytes', 'listen on a Unix domain socket instead'),
  tokenFile: one(z.optional(text), 'a path', 'require a bearer token of this file'),
  tlsCert: one(z.optional(text), 'a path', 'speak TLS, with this certificate'),
  tlsKey: one(z.optional(text), 'a path', 'its key'),
  tlsClientCa: one(z.optional(text), 'a path', 'require client certificates of these authorities'),
  allowHost: list(hostName, 'host names, lower case, no port', 'answer requests for them too'),
  allowOrigin: list(origin, 'origins like https://tools.example', 'let their web pages call'),
  allowProxy: flag('answer what comes through a proxy without a token'),
  onlyUid: list(integer(0, 2 ** 32 - 2), 'user ids', 'signal only processes of these users'),
  protect: list(pidOrName, 'PIDs, and names of processes', 'never signal these processes'),
  quiet: flag('log unexpected errors only'),
}

const schema = z.object(SETTINGS)
const optionOf = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
const variableOf = (name: string) =>
  name === 'port' ? 'PORT' : `PSYS_KILL_${optionOf(name).replaceAll('-', '_').toUpperCase()}`

const row = (option: string, variable: string, takes: string, use: string) =>
  `  ${option.padEnd(17)}${variable.padEnd(25)}${takes}\n${''.padEnd(19)}${use}\n`

export const HELP = `psys-kill: the HTTP endpoint that terminates a process by its PID

Usage: psys-kill [--OPTION VALUE]...

Serves POST /api/connections/kill {"pid":1234}, which sends SIGTERM to that
process. A socket that systemd hands over is served instead of host and port.

Options, or the variables that hold them; several values with commas between:
${Object.entries(SETTINGS)
  .map(([name, { takes, use }]) => row(`--${optionOf(name)}`, variableOf(name), takes, use))
  .join('')}${row('', 'PSYS_KILL_TOKEN', 'a token', 'require this bearer token')}  -h, --help
  -v, --version

Examples:
  psys-kill --port 8080
  psys-kill --socket /run/psys-kill/socket
  psys-kill --host 10.0.0.1 --token-file /etc/psys-kill.token
`

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
