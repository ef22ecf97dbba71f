import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test, vi } from 'vitest'
import { emptyFolder } from '../support/folder.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const GUARD = fileURLToPath(new URL('../support/run-guard.mjs', import.meta.url))
const VITEST = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'build/vitest.config.ts', '--project', 'fast']

/** The processes with the mark of a run: workers, servers, targets. */
const runningIn = (run: string) => execFileSync(process.execPath, [GUARD, 'list', run], { encoding: 'utf8' })

test.each(['SIGTERM', 'SIGKILL', 'SIGINT'] as const)(
  'if a test run gets %s, its workers, servers, targets and files go too',
  async (signal) => {
    using folder = emptyFolder()
    // One has servers behind sh and python; both have targets.
    const files = ['test/standalone/main.test.ts', 'test/standalone/connections.test.ts']
    const env = { ...process.env, TMPDIR: folder.path }
    const runner = spawn(process.execPath, [...VITEST, ...files], { cwd: ROOT, env, stdio: 'ignore' })
    const ended = once(runner, 'exit')
    const run = await vi.waitFor(() => {
      const name = readdirSync(folder.path).find((each) => each.startsWith('psys-kill-'))
      return folder.file(name ?? expect.unreachable('It has no folder yet'))
    }, 20_000)
    await vi.waitFor(() => expect(runningIn(run)).toMatch(/psys-kill\.cjs/), 60_000)
    runner.kill(signal)
    await ended
    await vi.waitFor(() => expect(runningIn(run)).toBe(''), 20_000)
    await vi.waitFor(() => expect(readdirSync(folder.path)).toEqual([]), 20_000)
  },
)
