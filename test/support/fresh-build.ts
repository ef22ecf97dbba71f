import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TestProject } from 'vitest/node'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const BUILT_FILE = 'build/dist/psys-kill.cjs'

const timeOf = (path: string) => statSync(join(ROOT, path), { throwIfNoEntry: false })?.mtimeMs ?? 0

const problem = () => {
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).map((name) => `src/${name}`)
  const newer = [...sources, 'build/build.mjs', 'package.json'].find((path) => timeOf(path) > timeOf(BUILT_FILE))
  return newer && `${BUILT_FILE} is older than ${newer}, or not there: npm run build`
}

/** Refuses to test an old build; in watch mode, says so at each change. */
export default (project: TestProject) => {
  const found = problem()
  if (found) throw new Error(found)
  project.onTestsRerun(() => {
    const found = problem()
    if (found) console.error(found)
  })
}
