import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { emptyFolder } from '../support/folder.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const GUARD = fileURLToPath(new URL('../support/run-guard.mjs', import.meta.url))
const VITEST = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'build/vitest.config.ts', '--project', 'fast']

/** What carries the mark of a run: workers, servers, targets. */
const runningIn = (run: string) => execFileSync(process.execPath, [GUARD, 'list', run], { encoding: 'utf8' })

test.each(['SIGTERM', 'SIGKILL', 'SIGINT'] as const)(
  'a run that gets %s in the middle takes its workers, servers, targets and files along',
  async (signal) => {
    using folder = emptyFolder()
    // Two files: of those, one has servers behind sh and python, and both have targets.
    const files = ['test/standalone/output.test.ts', 'test/standalone/connections.test.ts']
    const runner = spawn(process.execPath, [...VITEST, ...files], {
      cwd: ROOT,
      env: { ...process.env, TMPDIR: folder.path },
      stdio: 'ignore',
    })
    const ended = once(runner, 'exit')
    const run = await vi.waitFor(
      () =>
        folder.file(
          readdirSync(folder.path).find((name) => name.startsWith('psys-kill-')) ?? expect.unreachable('no folder'),
        ),
      20_000,
    )
    await vi.waitFor(() => expect(runningIn(run)).toMatch(/psys-kill\.cjs[\s\S]*setInterval/), 60_000)
    runner.kill(signal)
    await ended
    await vi.waitFor(() => expect(runningIn(run)).toBe(''), 20_000)
    await vi.waitFor(() => expect(readdirSync(folder.path)).toEqual([]), 20_000)
  },
)
