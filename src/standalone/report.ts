import process from 'node:process'

/** A setting that the server cannot start with. The message is one line that says what to do. */
export class SettingsError extends Error {}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

/** Whether a text may contain a misplaced token: 16 characters of a token in a row. No error repeats such a text. */
export const mayBeToken = (text: string) => /[\w.~+/-]{16}/.test(text)

/** Writes one line to standard error. */
export const warn = (text: string) => console.error(`psys-kill: ${text.replace(/[\s\p{Cc}]+/gu, ' ')}`)

/** Writes the one line of a SettingsError and ends the process with status 1. Throws any other error again. */
export const exitWith = (error: unknown): never => {
  if (!(error instanceof SettingsError)) throw error
  warn(error.message)
  process.exit(1)
}
