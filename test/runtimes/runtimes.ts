import { execFileSync } from 'node:child_process'
import { chmodSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
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

/** A program, and what the runtime gets before and after it. A program that is not ours says its URL in its own words. */
type Program = Readonly<{ what: string; file: string; lacks?: readonly Feature[]; isOurs?: boolean }> &
  Readonly<Partial<Record<'before' | 'after', readonly string[]>>>
export type Implementation = Program & { runtime: Runtime }

export const ANY_URL = /(http:\/\/[^/\s]+)/
const ALL = ['--no-lock', '--allow-all']
const LESS = ['--no-lock', '--allow-env', '--allow-run']

const single: Program = { what: 'single file', file: BUILT_FILE, after: ['--port', '0'], isOurs: true }
const main: Program = { ...single, what: 'main.ts', file: inFolder('../../src/standalone/main.ts') }
const embedding: Program = { what: 'embedded', file: inFolder('embedding.mjs'), lacks: ['connections', 'server'] }
const exported: Program = { ...embedding, what: 'default export', file: inFolder('exported.mjs') }
const less = ({ what, lacks = [], ...program }: Program, ...before: string[]): Program => {
  return { ...program, what: `${what}, less allowed`, before, lacks: [...lacks, 'look'] }
}
const on = (runtime: Runtime, ...programs: Program[]) => programs.map((program) => ({ runtime, ...program }))
const onDeno = (program: Program): Program => ({ before: ['run', ...ALL], ...program })

/** Everything that the README says how to run. */
export const implementations: readonly Implementation[] = [
  ...on('Node 20.3', single, embedding),
  ...on('Node 20', single, embedding),
  ...(['Node 22', 'Node 24', 'Node 26'] as const).flatMap((runtime) => on(runtime, single, main)),
  ...on('Deno', onDeno(single), less(single, 'run', ...LESS, '--allow-net', '--allow-sys'), onDeno(embedding)),
  ...on('Deno', onDeno(main), { ...exported, before: ['serve', ...ALL, '--host', '127.0.0.1', '--port', '0'] }),
  ...on('Bun', single, main, embedding, exported),
]

/** Starts an implementation, if possible as another user. */
export const start = (
  { runtime, before = [], file, after = [], isOurs }: Implementation,
  env: Readonly<Record<string, string>> = {},
  more: readonly string[] = [],
) =>
  startServer({
    command: [runtimes[runtime], ...before, file],
    args: [...after, ...more],
    env: { ...denoEnv(OTHER_USER?.uid), ...(!isOurs && { PORT: '0' }), ...env },
    ...OTHER_USER,
    ...(!isOurs && { listening: ANY_URL }),
  })
