import { existsSync } from 'node:fs'
import { defineConfig } from 'vitest/config'
import { skips } from './vitest.skips.ts'

const slow = 'test/slow/**/*.test.ts'
/** Nothing outlives the run. */
const owned = {
  globalSetup: ['test/support/fresh-build.ts', 'test/support/run-setup.ts'],
  setupFiles: 'test/support/children.ts',
}

export default defineConfig({
  test: {
    reporters: ['default', skips()],
    coverage: {
      include: ['src/**'],
      // These run in processes of their own: `npm run coverage` shows them.
      exclude: ['src/**/index.ts', 'src/standalone/{main,deno-bun,listen,connections,tls,setup}.ts'],
      reporter: ['text'],
      // Elsewhere what reads /proc cannot run.
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
          // Far beyond what any takes: that a machine is busy decides no test.
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
