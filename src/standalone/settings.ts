import { readFileSync, statSync } from 'node:fs'
import { parseArgs } from 'node:util'
import * as z from 'zod/mini'
import { fromDigits } from '../app/kill-request.ts'
import { MAX_PID } from '../app/signaller.ts'
import { errorCode } from '../node/proc.ts'
import { TOKEN_PATTERN } from '../server/token.ts'

/** A setting that the server cannot start with; the message is one line that says what to do. */
export class SettingsError extends Error {}

export const OPEN_TO_LOCAL_USERS = 'Every local user can now kill any process: set a token, or use --socket.'

const text = z.string().check(z.minLength(1))
const integer = (min: number, max: number) => z.pipe(fromDigits, z.int().check(z.minimum(min), z.maximum(max)))
/** Values that come one by one, with commas between them, or both. */
const split = z.transform((values: string | string[]): (string | number)[] => String(values).split(/\s*,\s*/))
const list = <Item extends z.ZodMiniType<unknown, string | number>>(item: Item) =>
  z.optional(z.pipe(split, z.array(item)))
const isOrigin = (value: string) => /^https?:\/\//.test(value) && URL.canParse(value) && new URL(value).origin === value

const schema = z.object({
  host: z._default(text, '127.0.0.1'),
  port: z._default(integer(0, 65_535), 3000),
  // What is longer than the address of a socket (unix(7), and less on macOS) would be cut off without a word.
  socket: z.optional(text.check(z.refine((path) => Buffer.byteLength(path) <= 103))),
  'token-file': z.optional(text),
  'allow-host': list(z.string().check(z.regex(/^([a-z0-9._-]+|\[[0-9a-f:.]+\])$/))),
  'allow-origin': list(z.string().check(z.refine(isOrigin))),
  protect: list(integer(1, MAX_PID)),
  quiet: z.optional(z.literal('1')),
})

/** Each setting: the variable that may hold it, what it takes, and what it is for. */
const SETTINGS = {
  host: ['PSYS_KILL_HOST', 'an address', 'listen on it; beyond loopback only with a token [127.0.0.1]'],
  port: ['PORT', 'a number from 0 to 65535', 'listen on this port; 0: any free one [3000]'],
  socket: ['PSYS_KILL_SOCKET', 'a path of at most 103 bytes', 'listen on a Unix domain socket instead'],
  'token-file': ['PSYS_KILL_TOKEN_FILE', 'a path', 'require the bearer token in this file, or in PSYS_KILL_TOKEN'],
  'allow-host': ['PSYS_KILL_ALLOW_HOST', 'host names in lower case, without a port', 'answer requests for them too'],
  'allow-origin': ['PSYS_KILL_ALLOW_ORIGIN', 'origins like https://tools.example', 'let their web pages call'],
  protect: ['PSYS_KILL_PROTECT', 'PIDs', 'never signal these processes'],
  quiet: ['PSYS_KILL_QUIET', '1', 'log unexpected errors only; takes no value on the command line'],
} as const satisfies Record<keyof typeof schema.shape, readonly [variable: string, takes: string, use: string]>

export const HELP = `Usage: psys-kill [--SETTING VALUE]...

Serves POST /api/connections/kill {"pid":1234}, which sends SIGTERM to that process.

Settings, or the variables that hold them; several values with commas between them:
${Object.entries(SETTINGS)
  .map(([name, [variable, takes, use]]) => `  --${name}, ${variable}: ${takes}\n      ${use}\n`)
  .join('')}
  --help, --version
`

const parseCommandLine = (args: readonly string[]) => {
  const several = { type: 'string', multiple: true } as const
  const flag = { type: 'boolean' } as const
  const options = {
    ...Object.fromEntries(Object.keys(SETTINGS).map((name) => [name, several])),
    quiet: flag,
    help: { ...flag, short: 'h' },
    version: { ...flag, short: 'v' },
  }
  try {
    return parseArgs({ args: [...args], options }).values
  } catch (error) {
    // Its first sentence names the option; what follows is about quoting.
    const [reason] = String(error instanceof Error ? error.message : error).split(/\. |\n/)
    throw new SettingsError(`${reason}. See --help.`)
  }
}

const readTokenFile = (file: string, warn: (text: string) => void) => {
  try {
    if (statSync(file).mode & 0o004) warn(`Every local user may read the token in ${file}; run chmod o-r on it.`)
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new SettingsError(`The token file ${file} cannot be read: ${errorCode(error)}.`)
  }
}

/** A host as it stands in a URL. (Only IPv6 has colons; isIPv6 and isIPv4 would compile huge patterns at each start.) */
export const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host)

const isLoopback = (host: string) => /^(localhost|::1|127(\.\d{1,3}){3})$/.test(host)

/**
 * The settings of the server, from the command line and the environment; the former wins.
 *
 * @returns `help` or `version` where the command line asks for it, else the settings, checked.
 * @throws {SettingsError} for an unknown option, a value that is wrong or empty, a token that no request could match,
 * and an address beyond loopback without a token.
 */
export const readSettings = (
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  warn: (text: string) => void,
) => {
  const { help, version, quiet, ...line } = parseCommandLine(args)
  if (help) return 'help'
  if (version) return 'version'

  const given: Record<string, unknown> = { quiet: quiet ? '1' : undefined }
  for (const [name, values] of Object.entries(line)) {
    const [value, ...more] = [values].flat()
    given[name] = more.length > 0 ? values : value
  }
  for (const [name, [variable]] of Object.entries(SETTINGS)) given[name] ??= env[variable]
  const { data, error } = z.safeParse(schema, given)
  if (error) {
    const name = z.parse(z.keyof(schema), error.issues[0]?.path[0])
    const [variable, takes] = SETTINGS[name]
    throw new SettingsError(`--${name} (${variable}) takes ${takes}, not ${JSON.stringify(given[name])}.`)
  }

  const tokenFile = data['token-file']
  const token = tokenFile === undefined ? env['PSYS_KILL_TOKEN'] : readTokenFile(tokenFile, warn)
  if (tokenFile !== undefined && env['PSYS_KILL_TOKEN'] !== undefined)
    throw new SettingsError('Both a token file and PSYS_KILL_TOKEN are set; keep one of them.')
  if (token !== undefined && !TOKEN_PATTERN.test(token))
    throw new SettingsError(
      `The token in ${tokenFile ?? 'PSYS_KILL_TOKEN'} must be 16 or more of A-Z a-z 0-9 - . _ ~ + /, with = only at its end.`,
    )

  const host = data.host.replace(/^\[(.*)\]$/, '$1')
  const onLoopback = data.socket === undefined && isLoopback(host)
  if (!onLoopback && data.socket === undefined && token === undefined)
    throw new SettingsError(
      `Listening on ${host} lets the network in: set a token (--token-file or PSYS_KILL_TOKEN), or listen on 127.0.0.1.`,
    )
  const ownHosts = ['localhost', '127.0.0.1', '[::1]', bracketed(host)]
  const { 'allow-host': allowHosts, 'allow-origin': origins, port, socket, protect } = data
  return {
    host,
    port,
    socket,
    token,
    /** The hosts to answer; undefined: any. */
    hosts: onLoopback ? [...ownHosts, ...(allowHosts ?? [])] : allowHosts,
    origins,
    protect,
    quiet: data.quiet !== undefined,
  }
}

export type Settings = Exclude<ReturnType<typeof readSettings>, string>
