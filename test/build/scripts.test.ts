import { execFile } from 'node:child_process'
import { cpSync, readFileSync, symlinkSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { emptyFolder } from '../support/folder.ts'
import { BUILT_FILE, runToEnd } from '../support/server.ts'

const inRoot = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))
const PRINTS_VERSION = { code: 0, stdout: `${packageJson.version}\n`, stderr: '' }

// Without the build before `start`: other tests use the file meanwhile.
test.each([
  ['npm start', ['npm', '--prefix', inRoot(''), 'start', '--silent', '--ignore-scripts', '--']],
  ['the command of the package', [process.execPath, inRoot(packageJson.bin['psys-kill'])]],
])('%s runs the built file', async (_name, command) => {
  expect(inRoot(packageJson.bin['psys-kill'])).toBe(BUILT_FILE)
  expect(await runToEnd(['--version'], {}, command)).toEqual(PRINTS_VERSION)
})

test('npm start builds before', () => {
  expect(packageJson.scripts.prestart).toMatch(/^npm run (--silent )?build$/)
})

test('the build makes the same files in a folder with spaces and letters beyond ASCII', async () => {
  using folder = emptyFolder()
  const root = folder.file('a b ü')
  const filter = (path: string) => !path.endsWith('/dist')
  for (const name of ['src', 'build', 'package.json', 'tsconfig.json', 'LICENSE'])
    cpSync(inRoot(name), `${root}/${name}`, { recursive: true, filter })
  symlinkSync(inRoot('node_modules'), `${root}/node_modules`)
  // The current folder is another one.
  const build = [`${root}/build/build.mjs`]
  expect((await promisify(execFile)(process.execPath, build, { cwd: folder.path })).stderr).toBe('')
  const copy = [process.execPath, `${root}/build/dist/psys-kill.cjs`]
  expect(await runToEnd(['--version'], {}, copy)).toEqual(PRINTS_VERSION)
  for (const name of ['psys-kill.cjs', 'openapi.json', 'lib/openapi.js', 'lib/openapi.d.ts', 'lib/index.js'])
    expect(readFileSync(`${root}/build/dist/${name}`, 'utf8')).toBe(readFileSync(inRoot(`build/dist/${name}`), 'utf8'))
})
