import type { ParseArgsConfig } from 'node:util'
import * as z from 'zod/mini'
import { fromDigits } from '../app/request.ts'
import { isPidOrName } from '../node/policy.ts'

export type Options = NonNullable<ParseArgsConfig['options']>
const STRINGS: Options[string] = { type: 'string', multiple: true }

/** A setting: the schema of its value, with what `--help` and parseArgs need. */
const one = <Schema extends z.ZodMiniType>(schema: Schema, takes: string, use: string, option = STRINGS) =>
  Object.assign(schema, { takes, use, option })

/** A setting with several values: separated by commas, in repeated options, or both. */
const list = <Item extends z.ZodMiniType<unknown, string | number>>(item: Item, takes: string, use: string) => {
  const split = z.transform((values: string | string[]): (string | number)[] => String(values).split(/\s*,\s*/))
  return one(z.optional(z.pipe(split, z.array(item))), takes, use)
}

/** An option without a value. */
const flag = (use: string) => {
  const given = z.transform((value: unknown = false) => value === '1' || value)
  return one(z.pipe(given, z.boolean()), 'no value; as a variable, 1', use, { type: 'boolean' })
}

const text = z.string().check(z.regex(/^[^\0]*[^\0\s][^\0]*$/))
const integer = (min: number, max: number) => z.pipe(fromDigits, z.int().check(z.minimum(min), z.maximum(max)))
// listen() takes a bare 38080 for a port. It cuts a path that is longer than a socket address (unix(7)).
const asPath = z.overwrite((path: string) => (/[/\\]/.test(path) ? path : `./${path}`))
const fitsAddress = z.refine<string>((path) => Buffer.byteLength(path) <= 103)
const socketPath = text.check(asPath, fitsAddress)
const hostName = z.string().check(z.regex(/^([a-z0-9._-]+|\[[0-9a-f:.]+\])$/))
const isOrigin = (value: string) => /^https?:\/\//.test(value) && URL.canParse(value) && new URL(value).origin === value
const origin = z.string().check(z.refine(isOrigin))

/** All settings. `tokenFile` is the option `--token-file` and the variable `PSYS_KILL_TOKEN_FILE`, and so on. */
export const SETTINGS = {
  host: one(z._default(text, '127.0.0.1'), 'one address', 'beyond loopback needs a token or a client CA [127.0.0.1]'),
  port: one(z._default(integer(0, 65_535), 3000), 'one number from 0 to 65535', 'listen on it; 0 means any [3000]'),
  socket: one(z.optional(socketPath), 'one path of at most 103 bytes', 'listen on a Unix domain socket instead'),
  tokenFile: one(z.optional(text), 'one path', 'require a bearer token from this file'),
  tlsCert: one(z.optional(text), 'one path', 'speak TLS with this certificate'),
  tlsKey: one(z.optional(text), 'one path', 'the key of the certificate'),
  tlsClientCa: one(z.optional(text), 'one path', 'require a client certificate from these authorities'),
  allowHost: list(hostName, 'host names, lower case, no port', 'accept these values of Host'),
  allowOrigin: list(origin, 'origins like https://tools.example', 'let web pages of these origins call'),
  allowProxy: flag('accept proxied requests; the proxy must authenticate'),
  onlyUid: list(integer(0, 2 ** 32 - 2), 'user ids', 'signal only processes of these users'),
  protect: list(fromDigits.check(z.refine(isPidOrName)), 'PIDs and names of processes', 'never signal these processes'),
  quiet: flag('record only unexpected errors, and no kills'),
}

export const optionOf = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
export const variableOf = (name: string) =>
  name === 'port' ? 'PORT' : `PSYS_KILL_${optionOf(name).replaceAll('-', '_').toUpperCase()}`

const row = (option: string, variable: string, takes: string, use: string) =>
  `  ${option.padEnd(17)}${variable.padEnd(25)}${takes}\n${''.padEnd(19)}${use}\n`

export const HELP = `psys-kill: the HTTP endpoint that terminates a process by its PID

Usage: psys-kill [--OPTION VALUE]...

It serves POST /api/connections/kill {"pid":1234}, which sends SIGTERM.

Options win over their variables. Separate several values by commas.
${Object.entries(SETTINGS)
  .map(([name, { takes, use }]) => row(`--${optionOf(name)}`, variableOf(name), takes, use))
  .join(
    '',
  )}${row('', 'PSYS_KILL_TOKEN', 'a token, or lines of them', 'require a bearer token')}  -h, --help       -v, --version
`
