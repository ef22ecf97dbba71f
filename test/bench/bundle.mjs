import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'

/** Bundles a program as build/build.mjs bundles the single file. */
export const bundle = (path, options) => {
  const entryPoints = [fileURLToPath(new URL(path, import.meta.url))]
  return buildSync({ entryPoints, bundle: true, minify: true, platform: 'node', format: 'cjs', ...options })
}

/** What each package adds to the single file, in bytes, the largest first. */
export const bytesByPackage = () => {
  const { metafile } = bundle('../../src/standalone/main.ts', { write: false, metafile: true, target: 'node20' })
  const [{ inputs }] = Object.values(metafile.outputs)
  const bytes = {}
  for (const [file, { bytesInOutput }] of Object.entries(inputs)) {
    const name = file.match(/.*node_modules\/((@[^/]+\/)?[^/]+)/)?.[1] ?? 'psys-kill'
    bytes[name] = (bytes[name] ?? 0) + bytesInOutput
  }
  return Object.entries(bytes).toSorted(([, a], [, b]) => b - a)
}
