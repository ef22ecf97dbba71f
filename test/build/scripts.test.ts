import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { runToEnd } from '../support/run.ts'

const inRoot = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

// Without what comes before `start`, a build: other tests use the file meanwhile.
test.each([
  ['npm start', ['npm', '--prefix', inRoot(''), 'start', '--silent', '--ignore-scripts', '--']],
  ['the command of the package', [process.execPath, inRoot(packageJson.bin['psys-kill'])]],
])('%s runs the built file', async (_name, command) => {
  const { code, stdout } = await runToEnd(['--version'], {}, command)
  expect({ code, stdout }).toEqual({ code: 0, stdout: `${packageJson.version}\n` })
})

test('npm start builds before', () => {
  expect(packageJson.scripts.prestart).toMatch(/^npm run (--silent )?build$/)
})
