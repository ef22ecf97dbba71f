import { chmodSync, readlinkSync, realpathSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import { BUILT_FILE, type RunningServer, startServer } from '../support/server.ts'
import { describeConformance, type Feature, GUARDED, type Peer } from './conformance.ts'
import { DENO_BUN_ENTRY, denoEnv, EMBEDDING, MAIN_SOURCE, type Runtime, runtimes, versionOf } from './runtimes.ts'

interface Implementation {
  runtime: Runtime
  /** What the runtime runs, for the table. */
  what: string
  /** The arguments of the runtime. */
  command: readonly string[]
  /** The arguments of what it runs. Default: those of the built file. */
  args?: readonly string[]
  env?: Record<string, string>
  listening?: RegExp
  lacks?: Feature
}

const ANY_URL = /(http:\/\/[^/\s]+)/
const nodes = ['Node 20.3', 'Node 20', 'Node 22', 'Node 24', 'Node 26'] as const
const ALL = ['--no-lock', '--allow-all']
const SOME = ['--no-lock', '--allow-env', '--allow-run']
const denoServe = { what: 'deno serve src', args: [], listening: ANY_URL }
const HOST = ['--host', '127.0.0.1', '--port', '0']

const implementations: Implementation[] = [
  ...nodes.map((runtime) => ({ runtime, what: 'single file', command: [BUILT_FILE] })),
  { runtime: 'Deno', what: 'single file', command: ['run', ...ALL, BUILT_FILE] },
  {
    runtime: 'Deno',
    what: 'single file, less allowed',
    command: ['run', ...SOME, '--allow-net', '--allow-sys', BUILT_FILE],
    lacks: 'look',
  },
  { runtime: 'Bun', what: 'single file', command: [BUILT_FILE] },
  ...nodes.slice(2).map((runtime) => ({ runtime, what: 'src/standalone/main.ts', command: [MAIN_SOURCE] })),
  { runtime: 'Deno', ...denoServe, command: ['serve', ...ALL, ...HOST, DENO_BUN_ENTRY] },
  {
    runtime: 'Deno',
    ...denoServe,
    what: 'deno serve src, less allowed',
    command: ['serve', ...SOME, ...HOST, DENO_BUN_ENTRY],
    lacks: 'look',
  },
  {
    runtime: 'Bun',
    what: 'export default of src',
    command: [DENO_BUN_ENTRY],
    args: [],
    env: { PORT: '0' },
    listening: ANY_URL,
  },
  ...(['Node 20.3', 'Node 20', 'Deno', 'Bun'] as const).map((runtime) => ({
    runtime,
    what: 'embedding service',
    command: [...(runtime === 'Deno' ? ['run', ...ALL] : []), EMBEDDING],
    args: [],
    listening: ANY_URL,
    lacks: 'server' as const,
  })),
]

// As root the tests can give the server a user who may not signal everybody's processes.
const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined
const features: Feature[] = ['look', 'server', 'other user']

for (const { runtime, what, command, args = ['--port', '0'], env = {}, listening, lacks } of implementations) {
  describe(`${runtime} (${versionOf(runtime)}), ${what}`, () => {
    const has = features.filter((feature) => feature !== lacks)
    let folder: ReturnType<typeof emptyFolder>
    let server: RunningServer
    let guarded: RunningServer | undefined
    let peer: Peer
    beforeAll(async () => {
      folder = emptyFolder()
      chmodSync(folder.path, 0o777)
      const start = (more = {}) =>
        startServer({
          command: [runtimes[runtime], ...command],
          args,
          env: { ...denoEnv(folder.path), ...env, ...more },
          ...user,
          ...(listening && { listening }),
        })
      server = await start()
      if (has.includes('server')) guarded = await start(GUARDED)
      // The name in the table is the truth: no shim, no shebang that hands over to another runtime.
      expect(readlinkSync(`/proc/${server.child.pid}/exe`)).toBe(realpathSync(runtimes[runtime]))
      const { url, child, record } = server
      const pid = child.pid ?? 0
      peer = { url, record, has, pid, user, answers: [], remote: '127.0.0.1', ...(guarded && { guarded }) }
    })
    afterAll(async () => {
      await server[Symbol.asyncDispose]()
      await guarded?.[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    })
    describeConformance(has, () => peer)

    describe('listening', () => {
      test('listens on one port of 127.0.0.1, and nowhere else', () => {
        expect(listeningPlaces(server.child.pid)).toEqual([`127.0.0.1:${new URL(server.url).port}`])
      })
    })
  })
}
