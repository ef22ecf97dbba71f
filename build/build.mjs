// Makes build/dist/: the single file psys-kill.cjs with its source map, openapi.json, and lib/, which people import.
import { execFileSync } from 'node:child_process'
import { appendFileSync, copyFileSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { build } from 'esbuild'

process.chdir(new URL('..', import.meta.url).pathname)
const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'))

/** One comment with the licence of every package in the file: all of them are MIT, or the build stops. */
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

/** What the single file has otherwise in the adapter. It speaks neither WebSocket (2 kB) nor HTTP/2 (5 ms of the start). */
const ADAPTER = [
  ['= defineWebSocketHelper(', '= /* @__PURE__ */ defineWebSocketHelper('],
  [/= globalThis\.(Close|Error)Event \?\? class/g, '= class'],
  [
    'import { Http2ServerRequest, constants } from "node:http2";',
    `import { LazyRequest, LazyResponse } from ${JSON.stringify(resolve('build/lazy-fetch.mjs'))}
export { Request$1 as LightRequest, Response$1 as LightResponse }
class Http2ServerRequest {}
const constants = {}`,
  ],
  ['globalThis.Headers', 'Headers'],
  ['global.Request', 'LazyRequest'],
  ['global.Response', 'LazyResponse'],
  // Nothing but this file uses its Request and Response: see build/fetch.mjs.
  ['options.overrideGlobalObjects !== false', 'false'],
]

/** Replaces each in a text; none may be missing, as another release of what it is from may have it in other words. */
const replaced = (text, changes) =>
  changes.reduce((result, [from, to]) => {
    const next = result.replaceAll(from, to)
    if (next === result) throw new Error(`There is no ${from} to replace`)
    return next
  }, text)

rmSync('build/dist', { recursive: true, force: true })

const singleFile = 'build/dist/psys-kill.cjs'
const { metafile } = await build({
  entryPoints: ['src/standalone/main.ts'],
  outfile: singleFile,
  bundle: true,
  minify: true,
  platform: 'node',
  target: 'node20',
  // Node starts it some 10 ms sooner than an ES module.
  format: 'cjs',
  sourcemap: true,
  banner: { js: '#!/usr/bin/env node' },
  metafile: true,
  inject: ['build/fetch.mjs'],
  plugins: [
    {
      name: 'small-hono.mjs for hono',
      setup: ({ onResolve }) => onResolve({ filter: /^hono$/ }, () => ({ path: resolve('build/small-hono.mjs') })),
    },
    {
      name: 'no more of @hono/node-server than HTTP/1 needs',
      setup: ({ onLoad }) =>
        onLoad({ filter: /@hono\/node-server\/dist\/index\.mjs$/ }, ({ path }) => ({
          contents: replaced(readFileSync(path, 'utf8'), ADAPTER),
        })),
    },
    {
      // Its default import copies all of it, nine times.
      name: 'the global process',
      setup: ({ onResolve, onLoad }) => {
        onResolve({ filter: /^node:process$/ }, () => ({ path: 'process', namespace: 'global' }))
        onLoad({ filter: /./, namespace: 'global' }, () => ({ contents: 'export default process' }))
      },
    },
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

appendFileSync(singleFile, licences(Object.keys(metafile.inputs)))

const [generator] = (
  await build({ entryPoints: ['build/openapi.ts'], bundle: true, write: false, platform: 'node', format: 'esm' })
).outputFiles
const { openapi, ...parts } = await import(`data:text/javascript,${encodeURIComponent(generator.text)}`)
writeFileSync('build/dist/openapi.json', JSON.stringify(openapi(readJson('package.json').version), null, 2))

execFileSync('node_modules/.bin/tsc', ['--project', 'build/tsconfig.lib.json'], { stdio: 'inherit' })

// As values, which cost whoever imports them nothing to make.
const constants = Object.entries(parts).map(([name, value]) => `export const ${name} = ${JSON.stringify(value)}\n`)
writeFileSync('build/dist/lib/openapi.js', constants.join(''))
copyFileSync('build/openapi-parts.d.ts', 'build/dist/lib/openapi.d.ts')
