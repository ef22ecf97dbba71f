import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'
import { skips } from './vitest.skips.ts'

const slow = 'test/slow/**/*.test.ts'
/** Fails if a test leaves a process behind, and ends the process. */
const owned = {
  globalSetup: ['test/support/fresh-build.ts', 'test/support/run-setup.ts'],
  setupFiles: 'test/support/children.ts',
}

export default defineConfig({
  test: {
    reporters: ['default', skips()],
    coverage: {
      include: ['src/**'],
      // Tests run these files in other processes: `npm run coverage` shows their coverage.
      exclude: ['src/**/index.ts', 'src/standalone/{main,listen,incoming,connections,tls}.ts'],
      reporter: ['text'],
      // Without /proc, the code that reads it cannot run.
      ...(existsSync('/proc/self/stat') && { thresholds: { lines: 98 } }),
    },
    projects: [
      {
        test: {
          ...owned,
          name: 'fast',
          include: ['test/{app,node,server,standalone,build}/*.test.ts'],
          // By default one core stays idle, and most of these tests wait for another process.
          maxWorkers: 2,
          // Far longer than any test takes, so that none fails on a busy machine.
          testTimeout: 60_000,
          hookTimeout: 60_000,
          expect: { poll: { timeout: 15_000 } },
        },
      },
      {
        test: {
          ...owned,
          name: 'slow',
          include: [slow],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          expect: { poll: { timeout: 15_000 } },
          fileParallelism: false,
        },
      },
    ],
  },
})
