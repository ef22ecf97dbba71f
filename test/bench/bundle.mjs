import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

/** What each package adds to the single file, in bytes, the largest first. */
export const bytesByPackage = async () => {
  const { metafile } = await build({
    entryPoints: [fileURLToPath(new URL('../../src/standalone/main.ts', import.meta.url))],
    bundle: true,
    minify: true,
    platform: 'node',
    format: 'esm',
    write: false,
    metafile: true,
  })
  const bytes = {}
  for (const { inputs } of Object.values(metafile.outputs))
    for (const [file, { bytesInOutput }] of Object.entries(inputs)) {
      const name = file.match(/.*node_modules\/((@[^/]+\/)?[^/]+)/)?.[1] ?? 'psys-kill'
      bytes[name] = (bytes[name] ?? 0) + bytesInOutput
    }
  return Object.fromEntries(Object.entries(bytes).toSorted(([, a], [, b]) => b - a))
}
