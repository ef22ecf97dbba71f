import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import type { TestProject } from 'vitest/node'

const GUARD = fileURLToPath(new URL('run-guard.mjs', import.meta.url))

/**
 * Gives the run a folder for all that it writes, whose path is also its mark: in the environment of the workers, and by
 * `children.ts` of all that they start. A guard ends what is left of it, however the run ends.
 */
export default ({ tmpDir }: TestProject) => {
  const folder = mkdtempSync(join(tmpdir(), 'psys-kill-'))
  // Some tests run as other users.
  chmodSync(folder, 0o711)
  const command = [GUARD, 'wait', folder, tmpDir]
  // Detached: a Ctrl-C at the terminal is not for the guard.
  const guard = spawn(process.execPath, command, { stdio: ['pipe', 'pipe', 'inherit'], detached: true })
  const killed = text(guard.stdout)
  const { TMPDIR } = process.env
  Object.assign(process.env, { TEST_RUN: folder, TMPDIR: folder })
  return async () => {
    guard.stdin.end()
    const left = await killed
    process.env['TMPDIR'] = TMPDIR
    if (left !== '') throw new Error(`Left behind, and now killed:\n${left}`)
  }
}
