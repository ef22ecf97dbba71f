import { execFile } from 'node:child_process'
import { BUILT_FILE } from './server.ts'

export interface Ending {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs a server, by default the built file, with settings that end it at once, and resolves with how it ended. */
export const runToEnd = (
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  [file = '', ...before]: readonly string[] = [process.execPath, BUILT_FILE],
): Promise<Ending> =>
  new Promise((resolve) => {
    const child = execFile(
      file,
      [...before, ...args],
      { env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: 20_000 },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    )
  })
