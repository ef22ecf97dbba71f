import process from 'node:process'

/** A setting that the server cannot start with. The message is one line that says what to do. */
export class SettingsError extends Error {}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

/** Whether a value may be a misplaced token, which no error repeats: it has 16 or more of its characters in a row. */
export const mayBeToken = (text: string) => /[\w.~+/-]{16}/.test(text)

/** Writes one line to standard error. */
export const warn = (text: string) => console.error(`psys-kill: ${text.replace(/[\s\p{Cc}]+/gu, ' ')}`)

/** Says in one line why the server cannot start, and ends the process. Throws any other error. */
export const fail = (error: unknown): never => {
  if (!(error instanceof SettingsError)) throw error
  warn(error.message)
  process.exit(1)
}
