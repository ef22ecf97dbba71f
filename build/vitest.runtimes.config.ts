import { defineConfig } from 'vitest/config'
import type { Reporter, TestModule, TestSuite } from 'vitest/node'
import { skips } from './vitest.skips.ts'

const suitesOf = ({ children }: TestModule | TestSuite) => [...children].filter((child) => child.type === 'suite')

/** How many tests of a group passed; `-` if the group has no test for this runtime. */
const cell = (group: TestSuite | undefined) => {
  const states = [...(group?.children.allTests() ?? [])].map((test) => test.result().state)
  const run = states.filter((state) => state !== 'skipped')
  const passed = run.filter((state) => state === 'passed')
  return run.length === 0
    ? '-'
    : passed.length === run.length
      ? `${run.length} ok`
      : `${passed.length} of ${run.length}`
}

/** Prints how many tests passed: a row for each outer `describe`, a column for each of its groups. */
const table: Reporter = {
  onTestRunEnd: (modules) => {
    const rows = modules.flatMap(suitesOf).filter((suite) => suitesOf(suite).length > 0)
    const groups = [...new Set(rows.flatMap(suitesOf).map(({ name }) => name))]
    const lines = [
      ['runtime', ...groups],
      ['---', ...groups.map(() => '---')],
      ...rows.map((row) => [
        row.name,
        ...groups.map((name) => cell(suitesOf(row).find((suite) => suite.name === name))),
      ]),
    ]
    if (rows.length > 0) console.log(`\n${lines.map((line) => `| ${line.join(' | ')} |`).join('\n')}\n`)
  },
}

export default defineConfig({
  test: {
    include: ['test/runtimes/*.test.ts'],
    globalSetup: ['test/support/fresh-build.ts', 'test/support/run-setup.ts'],
    setupFiles: 'test/support/children.ts',
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 15_000 } },
    fileParallelism: false,
    reporters: ['default', table, skips()],
  },
})
