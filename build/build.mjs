// Makes build/dist/: the single file psys-kill.cjs with its source map, openapi.json, and the library in lib/.
import { execFileSync } from 'node:child_process'
import { appendFileSync, copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

// By default, esbuild uses the folder in which the build was started.
const absWorkingDir = fileURLToPath(new URL('..', import.meta.url))
process.chdir(absWorkingDir)
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'))

/** One comment with the licences of all packages in the file. If a package is not under MIT, the build fails. */
const licences = (files) => {
  const folders = files.flatMap((file) => file.match(/^.*node_modules\/(@[^/]+\/)?[^/]+/)?.[0] ?? [])
  const packages = [...new Set(folders)].toSorted().map((folder) => {
    const { name, version, license } = readJson(`${folder}/package.json`)
    if (license !== 'MIT') throw new Error(`${name} is under ${license}, not MIT`)
    const file = `${folder}/LICENSE`
    const copyright = existsSync(file) && readFileSync(file, 'utf8').match(/^Copyright .*$/m)
    return `${name} ${version}, ${copyright || 'Copyright (c) its authors'}`
  })
  const [, terms] = readFileSync('LICENSE', 'utf8').split(/^Copyright .*\n/m)
  return `/*! Contains, all under the MIT License:\n${packages.join('\n')}\n${terms}*/`
}

rmSync('build/dist', { recursive: true, force: true })

console.log('Bundling build/dist/psys-kill.cjs')
const singleFile = 'build/dist/psys-kill.cjs'
const { metafile } = await build({
  absWorkingDir,
  entryPoints: ['src/standalone/main.ts'],
  outfile: singleFile,
  bundle: true,
  minify: true,
  platform: 'node',
  target: 'node20',
  // Node starts CommonJS about 10 ms faster than an ES module.
  format: 'cjs',
  sourcemap: true,
  banner: { js: '#!/usr/bin/env node' },
  metafile: true,
})
appendFileSync(singleFile, licences(Object.keys(metafile.inputs)))

console.log('Writing build/dist/openapi.json')
const generator = await build({
  absWorkingDir,
  entryPoints: ['build/openapi.ts'],
  bundle: true,
  write: false,
  platform: 'node',
  format: 'esm',
})
const { openapi, ...parts } = await import(`data:text/javascript,${encodeURIComponent(generator.outputFiles[0].text)}`)
writeFileSync('build/dist/openapi.json', JSON.stringify(openapi(readJson('package.json').version), null, 2))

console.log('Compiling build/dist/lib')
execFileSync(process.execPath, ['node_modules/typescript/bin/tsc', '--project', 'build/tsconfig.lib.json'], {
  stdio: 'inherit',
})

// Write the finished values, so that an import costs almost nothing.
const constants = Object.entries(parts).map(([name, value]) => `export const ${name} = ${JSON.stringify(value)}\n`)
writeFileSync('build/dist/lib/openapi.js', constants.join(''))
copyFileSync('build/openapi-parts.d.ts', 'build/dist/lib/openapi.d.ts')
