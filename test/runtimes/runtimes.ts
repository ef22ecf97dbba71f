import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { postRaw, told } from '../support/post.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import type { Feature } from './conformance.ts'

const inFolder = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const binary = (path: string) => inFolder(`node_modules/${path}`)

/** The binaries that `npm ci` in this folder installs. */
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

/** A user who may not signal the processes of the tests. Only root can start a server as another user. */
export const OTHER_USER = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined

/** The environment of Deno, with a cache that this user can write to. */
export const denoEnv = (user: string | number = 'own') => {
  const DENO_DIR = join(tmpdir(), `deno-${user}`)
  mkdirSync(DENO_DIR, { recursive: true })
  chmodSync(DENO_DIR, 0o777)
  return { DENO_DIR, DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1' }
}

/** A program, and what the runtime gets before it. */
type Program = Readonly<{ what: string; file: string; before?: readonly string[]; lacks?: readonly Feature[] }>
export type Implementation = Program & { runtime: Runtime }

const single: Program = { what: 'single file', file: BUILT_FILE }
const main: Program = { what: 'main.ts', file: inFolder('../../src/standalone/main.ts') }
const embedding: Program = { what: 'embedded', file: inFolder('embedding.mjs'), lacks: ['server'] }
const exported: Program = { what: 'default export', file: inFolder('exported.mjs'), lacks: ['server'] }

const ALL = ['--no-lock', '--allow-all']
const LESS = ['--no-lock', '--allow-env', '--allow-run', '--allow-net', '--allow-sys']
const on = (runtime: Runtime, ...programs: Program[]) => programs.map((program) => ({ runtime, ...program }))

/** Everything that the README says how to run. */
export const implementations: readonly Implementation[] = [
  ...(['Node 20.3', 'Node 20'] as const).flatMap((runtime) => on(runtime, single, embedding)),
  ...(['Node 22', 'Node 24', 'Node 26'] as const).flatMap((runtime) => on(runtime, single, main)),
  ...on('Node 26', embedding),
  ...on('Deno', ...[single, embedding, main].map((program) => ({ ...program, before: ['run', ...ALL] }))),
  ...on('Deno', { ...single, what: 'single file, less allowed', before: ['run', ...LESS], lacks: ['look'] }),
  ...on('Deno', { ...exported, before: ['serve', ...ALL, '--host', '127.0.0.1', '--port', '0'] }),
  ...on('Bun', single, main, embedding, exported),
]

/** Starts an implementation, if possible as another user. */
export const start = ({ runtime, before = [], file }: Implementation, env = {}, args: readonly string[] = []) =>
  startServer({
    command: [runtimes[runtime], ...before, file],
    args,
    env: { ...denoEnv(OTHER_USER?.uid), PORT: '0', ...env },
    ...OTHER_USER,
    // A program that is not ours says its URL in its own words.
    listening: /(https?:\/\/127\.0\.0\.1:\d+)/,
  })

/** POSTs a value to the kill route of a server, and resolves with the status, the body and the reason of the answer. */
export const killAt = (url: string, body: object, headers: Readonly<Record<string, string>> = {}) =>
  told(postRaw({ request: (path, init) => fetch(`${url}${path}`, init) }, JSON.stringify(body), headers))
