import fc from 'fast-check'
import { expect } from 'vitest'
import { readSettings, type Settings } from '../../src/standalone/settings.ts'
import { SettingsError } from '../../src/standalone/settings-error.ts'
import { TOKEN } from './token.ts'

export { TOKEN }
/** Each option, and the variable that may hold it. */
export const VARIABLES = {
  host: 'PSYS_KILL_HOST',
  port: 'PORT',
  socket: 'PSYS_KILL_SOCKET',
  'token-file': 'PSYS_KILL_TOKEN_FILE',
  'tls-cert': 'PSYS_KILL_TLS_CERT',
  'tls-key': 'PSYS_KILL_TLS_KEY',
  'tls-client-ca': 'PSYS_KILL_TLS_CLIENT_CA',
  'allow-host': 'PSYS_KILL_ALLOW_HOST',
  'allow-origin': 'PSYS_KILL_ALLOW_ORIGIN',
  'allow-proxy': 'PSYS_KILL_ALLOW_PROXY',
  'only-uid': 'PSYS_KILL_ONLY_UID',
  protect: 'PSYS_KILL_PROTECT',
  quiet: 'PSYS_KILL_QUIET',
} as const
export const OPTIONS = Object.keys(VARIABLES)
export const KNOWN = [...Object.values(VARIABLES), 'PSYS_KILL_TOKEN']

export type Env = Record<string, string>
export const noWarning = (text: string): void => expect.unreachable(text)

/** The settings, where they are right and nothing is to be warned about. */
export const read = (args: readonly string[] = [], env: Env = {}, warn = noWarning): Settings => {
  const settings = readSettings(args, env, warn)
  if (typeof settings === 'string') throw new Error(settings)
  return settings
}

/** What is wrong with the settings: a line that ends as one does, and never the token. */
export const messageOf = (args: readonly string[], env: Env = {}) => {
  try {
    readSettings(args, env, noWarning)
  } catch (error) {
    expect(error).toBeInstanceOf(SettingsError)
    const message = String(error instanceof Error && error.message)
    expect(message).toMatch(/^[^\n]+\.$/)
    expect(message).not.toContain(TOKEN)
    return message
  }
  return expect.unreachable(`it took ${JSON.stringify([args, env])}`)
}

/** Values such as settings have, and those that Kubernetes gives to its variables. */
export const someValue = fc.constantFrom('', 'x', TOKEN, '/run/token', 'a.example', 'https://a.example', '1,2')
export const serviceValue = fc.constantFrom('1', '10.0.0.1', '::1', 'tcp', 'tcp://10.0.0.1:80', '3000')

/** One character more, less, or another one, anywhere. */
export const misspelt = (known: readonly string[]) =>
  fc
    .tuple(
      fc.constantFrom(...known),
      fc.nat(),
      fc.constantFrom([0, 1], [1, 0], [1, 1]),
      fc.oneof(fc.string({ minLength: 1, maxLength: 1, unit: 'grapheme' }), fc.constantFrom('_', '-', 'S', 's', '0')),
    )
    .map(([word, number, [deleted = 0, inserted = 0], character]) => {
      const at = number % (word.length + 1 - deleted)
      return word.slice(0, at) + (inserted ? character : '') + word.slice(at + deleted)
    })
    .filter((word) => !known.includes(word) && !/[=\0]/.test(word))
