import { readFileSync, statSync } from 'node:fs'
import { isIPv4, isIPv6 } from 'node:net'
import { parseArgs } from 'node:util'
import * as z from 'zod/mini'
import { TOKEN_PATTERN } from './guards.ts'
import { errorCode } from './node-proc.ts'
import { MAX_PID } from './signaller.ts'

/** A setting that the server cannot start with; the message is one line that says what to do. */
export class SettingsError extends Error {}

export const HELP = `Usage: psys-kill [options]

Serves POST /api/connections/kill {"pid":1234}, which sends SIGTERM to that process.

Options, each with its environment variable and [default]:
  --host ADDRESS       PSYS_KILL_HOST          where to listen; beyond loopback only with a token [127.0.0.1]
  --port PORT          PORT                    0 takes any free port [3000]
  --socket PATH        PSYS_KILL_SOCKET        listen on a Unix domain socket instead
  --token-file PATH    PSYS_KILL_TOKEN_FILE    require the bearer token in this file
                       PSYS_KILL_TOKEN         require this bearer token
  --allow-host HOST    PSYS_KILL_ALLOW_HOST    answer requests for this Host too (*)
  --allow-origin URL   PSYS_KILL_ALLOW_ORIGIN  let browser pages of this origin call (*)
  --protect PID        PSYS_KILL_PROTECT       never signal this process (*)
  --quiet              PSYS_KILL_QUIET=1       log unexpected errors only
  --help, --version

(*) may be repeated, or take several values with commas between them.
`

const text = z.string().check(z.minLength(1))
const integer = (min: number, max: number) =>
  z.pipe(
    z.pipe(z.string().check(z.regex(/^[0-9]+$/)), z.transform(Number)),
    z.int().check(z.minimum(min), z.maximum(max)),
  )
// From the command line as an array, from the environment as one string with commas.
const list = <Item extends z.ZodMiniType<unknown, string>>(item: Item) =>
  z.optional(
    z.pipe(
      z.pipe(
        z.union([z.string(), z.array(z.string())]),
        z.transform((values: string | string[]) =>
          [values]
            .flat()
            .join()
            .split(',')
            .map((value) => value.trim()),
        ),
      ),
      z.array(item),
    ),
  )

const isOrigin = (value: string) => /^https?:\/\//.test(value) && URL.canParse(value) && new URL(value).origin === value

const schema = z.object({
  host: z._default(text, '127.0.0.1'),
  port: z._default(integer(0, 65_535), 3000),
  socket: z.optional(text),
  'token-file': z.optional(text),
  'allow-host': list(z.string().check(z.regex(/^([a-z0-9._-]+|\[[0-9a-f:.]+\])$/))),
  'allow-origin': list(z.string().check(z.refine(isOrigin))),
  protect: list(integer(1, MAX_PID)),
  quiet: z.optional(z.literal('1')),
})

/** The variable that holds each setting, and what it takes. */
const SOURCES = {
  host: ['PSYS_KILL_HOST', 'an address'],
  port: ['PORT', 'a number from 0 to 65535'],
  socket: ['PSYS_KILL_SOCKET', 'a path'],
  'token-file': ['PSYS_KILL_TOKEN_FILE', 'a path'],
  'allow-host': ['PSYS_KILL_ALLOW_HOST', 'host names in lower case, without a port'],
  'allow-origin': ['PSYS_KILL_ALLOW_ORIGIN', 'origins like https://tools.example'],
  protect: ['PSYS_KILL_PROTECT', 'PIDs'],
  quiet: ['PSYS_KILL_QUIET', '1'],
} as const satisfies Record<keyof typeof schema.shape, readonly [variable: string, takes: string]>

const single = { type: 'string' } as const
const repeated = { type: 'string', multiple: true } as const
const flag = { type: 'boolean' } as const

const parseCommandLine = (args: readonly string[]) => {
  try {
    return parseArgs({
      args: [...args],
      options: {
        host: single,
        port: single,
        socket: single,
        'token-file': single,
        'allow-host': repeated,
        'allow-origin': repeated,
        protect: repeated,
        quiet: flag,
        help: { ...flag, short: 'h' },
        version: { ...flag, short: 'v' },
      },
    }).values
  } catch (error) {
    // Its first sentence names the option; what follows is about quoting.
    const [reason] = String(error instanceof Error ? error.message : error).split(/\. |\n/)
    throw new SettingsError(`${reason}. See --help.`)
  }
}

const readToken = (file: string | undefined, token: string | undefined, warn: (text: string) => void) => {
  if (file === undefined && token === undefined) return undefined
  if (file !== undefined && token !== undefined)
    throw new SettingsError('Both a token file and PSYS_KILL_TOKEN are set; keep one of them.')
  const [source, value] = file === undefined ? ['PSYS_KILL_TOKEN', token] : [file, readTokenFile(file, warn)]
  if (value === undefined || !TOKEN_PATTERN.test(value))
    throw new SettingsError(
      `The token in ${source} must be 16 or more of the characters A-Z a-z 0-9 - . _ ~ + /, with = only at its end.`,
    )
  return value
}

const readTokenFile = (file: string, warn: (text: string) => void) => {
  try {
    if (statSync(file).mode & 0o004)
      warn(`Every user of this machine may read the token in ${file}; run chmod o-r on it.`)
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new SettingsError(`The token file ${file} cannot be read: ${errorCode(error)}.`)
  }
}

const isLoopback = (host: string) => host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))

/**
 * The settings of the server, from the command line and the environment; the former wins.
 *
 * @returns `help` or `version` where the command line asks for it, else the settings, checked.
 * @throws {SettingsError} for a value that is wrong or empty, an unknown option, and an address beyond loopback
 * without a token.
 */
export const readSettings = (
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  warn: (text: string) => void,
) => {
  const { help, version, quiet, ...line } = parseCommandLine(args)
  if (help) return 'help'
  if (version) return 'version'

  const given: Record<string, unknown> = { ...line, quiet: quiet ? '1' : undefined }
  for (const [name, [variable]] of Object.entries(SOURCES)) given[name] ??= env[variable]
  const { data, error } = z.safeParse(schema, given)
  if (error) {
    const name = z.parse(z.keyof(schema), error.issues[0]?.path[0])
    const [variable, takes] = SOURCES[name]
    throw new SettingsError(`--${name} (${variable}) takes ${takes}, not ${JSON.stringify(given[name])}.`)
  }

  const token = readToken(data['token-file'], env['PSYS_KILL_TOKEN'], warn)
  const host = data.host.replace(/^\[(.*)\]$/, '$1')
  const loopback = isLoopback(host)
  if (!loopback && token === undefined && data.socket === undefined)
    throw new SettingsError(
      `Listening on ${host} lets the network in: set a token (--token-file or PSYS_KILL_TOKEN), or listen on 127.0.0.1.`,
    )
  const ownHosts = ['localhost', '127.0.0.1', '[::1]', isIPv6(host) ? `[${host}]` : host]
  const allowHosts = data['allow-host']
  return {
    host,
    port: data.port,
    socket: data.socket,
    token,
    /** The hosts to answer; undefined: any. */
    hosts: loopback && data.socket === undefined ? [...ownHosts, ...(allowHosts ?? [])] : allowHosts,
    origins: data['allow-origin'],
    protect: data.protect,
    quiet: data.quiet === '1',
  }
}

export type Settings = Exclude<ReturnType<typeof readSettings>, string>
