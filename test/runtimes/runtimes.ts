import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const inFolder = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const binary = (path: string) => inFolder(`node_modules/${path}`)

/** The source, the built file and an embedding service: what a runtime is asked to run. */
export const DENO_BUN_ENTRY = inFolder('../../src/standalone/deno-bun.ts')
export const MAIN_SOURCE = inFolder('../../src/standalone/main.ts')
export const EMBEDDING = inFolder('embedding.mjs')

/** The binaries that `npm ci` in this folder brings. */
export const runtimes = {
  'Node 20.3': binary('node20-lowest/bin/node'),
  'Node 20': binary('node20/bin/node'),
  'Node 22': binary('node22/bin/node'),
  'Node 24': binary('node24/bin/node'),
  'Node 26': binary('node26/bin/node'),
  Deno: binary('deno/deno'),
  Bun: binary('bun/bin/bun.exe'),
  workerd: binary('workerd/bin/workerd'),
} as const

export type Runtime = keyof typeof runtimes

/** The version, as the binary itself tells. */
export const versionOf = (runtime: Runtime) =>
  /\d[\d.-]*\d/.exec(execFileSync(runtimes[runtime], ['--version'], { encoding: 'utf8' }))?.[0] ?? '?'

/** Not to look for a newer Deno, and where it may write: the tests run it as a user without a home. */
export const denoEnv = (folder: string) => ({ DENO_DIR: folder, DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1' })
