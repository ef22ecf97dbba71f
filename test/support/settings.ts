import { expect, vi } from 'vitest'
import { SettingsError } from '../../src/standalone/report.ts'
import { readSettings } from '../../src/standalone/settings.ts'
import { TOKEN } from './server.ts'

export { TOKEN }
export type Env = Record<string, string>
const noWarning = (text: string): void => expect.unreachable(text)

/** The settings. They must be right, and without a warning. The LISTEN_PID `own` is this process. */
export const read = (args: readonly string[] = [], env: Env = {}, warn = noWarning) => {
  const written = vi.spyOn(console, 'error').mockImplementation(warn)
  try {
    return readSettings(args, env['LISTEN_PID'] === 'own' ? { ...env, LISTEN_PID: String(process.pid) } : env)
  } finally {
    written.mockRestore()
  }
}

/** What is wrong with the settings: one line, without the token. */
export const messageOf = (args: readonly string[], env: Env = {}) => {
  try {
    read(args, env)
  } catch (error) {
    expect(error).toBeInstanceOf(SettingsError)
    const message = String(error instanceof Error && error.message)
    expect(message).toMatch(/^[^\n]+\.$/)
    expect(message).not.toContain(TOKEN)
    return message
  }
  return expect.unreachable(`Accepted: ${JSON.stringify([args, env])}`)
}
