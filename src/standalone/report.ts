/**
 * A setting that the server cannot start with. The message is one line that says what to do. It names the setting.
 * It repeats no value except the path of a socket and a port: any other may be a misplaced token.
 */
export class SettingsError extends Error {}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

/** Returns what `use` returns. Turns its error into a SettingsError: `what`, a colon, and the cause. */
export const orExplain = <Result>(what: string, use: () => Result) => {
  try {
    return use()
  } catch (error) {
    throw new SettingsError(`${what}: ${messageOf(error)}.`)
  }
}

/** Writes one line to standard error. */
export const warn = (text: string) => console.error(`psys-kill: ${text.replace(/[\s\p{Cc}]+/gu, ' ')}`)
