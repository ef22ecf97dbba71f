import { tmpdir } from 'node:os'
import { join } from 'node:path'

/**
 * Changes the code in a thousand small ways and looks whether a test fails: `npm run test:mutation`, or for one file
 * `npm run test:mutation -- --mutate src/app/remote.ts`.
 *
 * Left out are the entries and what only runs in a process of its own (listening, stopping): the tests of those run
 * the built file, in which nothing is changed.
 *
 * @type {import('@stryker-mutator/api/core').PartialStrykerOptions}
 */
export default {
  mutate: [
    'src/{app,server,node}/*.ts',
    'src/standalone/{settings,options,secrets,plain-headers,report}.ts',
    '!src/**/index.ts',
  ],
  testRunner: 'vitest',
  vitest: { configFile: 'test/mutation/vitest.config.ts' },
  coverageAnalysis: 'perTest',
  concurrency: 2,
  // Of the tests that reach a change, on top of half as long again as they take without it.
  timeoutMS: 10_000,
  cleanTempDir: 'always',
  // Nobody checks the types of the copy. (Stryker would rewrite the tsconfig.json through an API that TypeScript 7 lacks.)
  disableTypeChecks: false,
  tsconfigFile: 'none',
  tempDirName: join(tmpdir(), `psys-kill-mutation-${process.pid}`),
  ignorePatterns: ['/build/dist', '!/build/dist/psys-kill.cjs', '/test/{bench,mutation,package,runtimes}/node_modules'],
  // The survivors, and the score of each file at the end.
  reporters: ['progress', 'clear-text'],
  clearTextReporter: { allowColor: false, logTests: false, reportTests: false },
}
