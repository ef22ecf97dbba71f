import { defineConfig, type Plugin } from 'vitest/config'
import type { Reporter, Vitest } from 'vitest/node'

let vitest: Vitest | undefined

/** Stryker asks for threads, in which `process.umask` and the like throw; the suite itself runs in processes. */
const inProcesses: Plugin = {
  name: 'in-processes',
  configureVitest: (context) => {
    vitest = context.vitest
    context.project.config.pool = 'forks'
  },
}

/** A file that no longer loads has no test that could fail: Stryker would take it for one that passes. */
const loads: Reporter = {
  onTestModuleEnd: (module) => {
    const [error] = module.errors()
    if (error) vitest?.state.catchError(new Error(`${module.moduleId} does not load: ${error.message}`), 'Load Error')
  },
}

/** The fast tests that call the source itself. */
export default defineConfig({
  plugins: [inProcesses],
  test: {
    include: ['test/{app,node,server}/*.test.ts', 'test/standalone/{settings,secrets,plain-headers}.test.ts'],
    globalSetup: 'test/support/run-setup.ts',
    setupFiles: ['test/support/children.ts', 'test/mutation/own-processes-only.ts'],
    testTimeout: 20_000,
    hookTimeout: 20_000,
    reporters: [loads],
  },
})
