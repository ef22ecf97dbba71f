import { defineConfig } from 'vitest/config'

const slow = 'test/slow/**/*.test.ts'

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'fast',
          include: ['test/*.test.ts'],
          testTimeout: 20_000,
          hookTimeout: 20_000,
          typecheck: { enabled: false },
        },
      },
      { test: { name: 'slow', include: [slow], testTimeout: 120_000, hookTimeout: 120_000, fileParallelism: false } },
    ],
  },
})
