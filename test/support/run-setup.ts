import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TestProject } from 'vitest/node'

const GUARD = fileURLToPath(new URL('run-guard.mjs', import.meta.url))

/**
 * Gives the run a folder for all that it writes, whose path is also its mark: in the environment of the workers, and by
 * `children.ts` of all that they start. A guard ends what is left of it, however the run
 * ends.
 */
export default ({ tmpDir }: TestProject) => {
  const folder = mkdtempSync(join(tmpdir(), 'psys-kill-'))
  // Some tests run as other users.
  chmodSync(folder, 0o711)
  const guard = spawn(process.execPath, [GUARD, 'wait', folder, tmpDir], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // A Ctrl-C at the terminal is not for it.
    detached: true,
  })
  const { TMPDIR } = process.env
  Object.assign(process.env, { TEST_RUN: folder, TMPDIR: folder })
  let left = ''
  guard.stdout.setEncoding('utf8').on('data', (chunk) => {
    left += chunk
  })
  return async () => {
    guard.stdin.end()
    await once(guard, 'close')
    process.env['TMPDIR'] = TMPDIR
    if (left !== '') throw new Error(`Left behind, and now killed:\n${left}`)
  }
}
