// Makes build/dist/: the single file psys-kill.mjs with its source map, and lib/, the package that people import.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { build } from 'esbuild'

process.chdir(new URL('..', import.meta.url).pathname)
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'))

/** One comment with the licence of every package in the file: all of them are MIT, or the build stops. */
const licences = () => {
  const packages = Object.keys(readJson('package.json').dependencies).map((name) => {
    const { version, license } = readJson(`node_modules/${name}/package.json`)
    if (license !== 'MIT') throw new Error(`${name} is under ${license}, not MIT`)
    const file = `node_modules/${name}/LICENSE`
    const copyright = existsSync(file) && readFileSync(file, 'utf8').match(/^Copyright .*$/m)
    return `${name} ${version}, ${copyright || 'Copyright (c) its authors'}`
  })
  const [, terms] = readFileSync('LICENSE', 'utf8').split(/^Copyright .*\n/m)
  return `/*! Contains, all under the MIT License:\n${packages.join('\n')}\n${terms}*/`
}

rmSync('build/dist', { recursive: true, force: true })

await build({
  entryPoints: ['src/main.ts'],
  outfile: 'build/dist/psys-kill.mjs',
  bundle: true,
  minify: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  sourcemap: true,
  banner: { js: '#!/usr/bin/env node' },
  footer: { js: licences() },
  plugins: [
    {
      name: 'only the version of package.json',
      setup: ({ onLoad }) =>
        onLoad({ filter: /\/package\.json$/ }, ({ path }) => ({
          contents: JSON.stringify({ version: readJson(path).version }),
          loader: 'json',
        })),
    },
  ],
})

execFileSync('node_modules/.bin/tsc', ['--project', 'build/tsconfig.lib.json'], { stdio: 'inherit' })
