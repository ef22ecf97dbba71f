/** A setting that the server cannot start with; the message is one line that says what to do. */
export class SettingsError extends Error {}
