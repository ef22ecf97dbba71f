// npm run coverage: runs the fast tests, and prints what they execute of src/ in processes of their own: the single file.
// `npm test` prints what they execute in their own process.
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import report from 'monocart-coverage-reports'

const FOLDER = 'build/dist/coverage'
rmSync(FOLDER, { recursive: true, force: true })
const args = ['run', '--config', 'build/vitest.config.ts', '--project', 'fast', '--reporter', 'dot']
const env = { ...process.env, NODE_V8_COVERAGE: FOLDER }
const { status } = spawnSync(process.execPath, ['node_modules/vitest/vitest.mjs', ...args], { env, stdio: 'inherit' })

const coverage = report({
  outputDir: `${FOLDER}/report`,
  reports: ['console-details'],
  entryFilter: ({ url }) => url.endsWith('/psys-kill.cjs'),
  sourceFilter: (path) => path.includes('src/') && !path.includes('node_modules'),
})
await coverage.addFromDir(FOLDER)
await coverage.generate()
process.exitCode = status ?? 1
