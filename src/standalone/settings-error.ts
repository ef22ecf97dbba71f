/** A setting that the server cannot start with; the message is one line that says what to do. */
export class SettingsError extends Error {}

export const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error))
