import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { serve } from '@hono/node-server'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../src/index.ts'
import { emptyFolder } from '../support/folder.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'
import { describeConformance, type Feature, GUARDED, type Peer } from './conformance.ts'
import { runtimes, versionOf } from './runtimes.ts'

interface Compatibility {
  date: string
  flags?: readonly string[]
}

/** The dates at which something changes for us, and the newest that this workerd knows. */
const NODEJS_COMPAT = ['nodejs_compat']
const WITH_FS: Compatibility[] = [
  { date: '2025-09-15', flags: NODEJS_COMPAT },
  { date: '2026-08-03', flags: NODEJS_COMPAT },
  { date: '2026-08-04' },
  { date: '2026-11-17' },
]
const WITHOUT_FS: Compatibility[] = [
  { date: '2024-01-01' },
  { date: '2024-09-23', flags: NODEJS_COMPAT },
  { date: '2025-09-14', flags: NODEJS_COMPAT },
  { date: '2026-08-03' },
  { date: '2026-11-17', flags: ['no_nodejs_compat'] },
]

const src = fileURLToPath(new URL('../../src', import.meta.url))
const PID = 2 ** 31 - 1

/** Bundles a Worker as its tools do: the runtime's own modules stay imports. */
const bundle = async (source: string) => {
  const { outputFiles } = await build({
    stdin: { contents: source, resolveDir: src, loader: 'ts' },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['workerd', 'worker', 'browser'],
    external: ['node:*'],
  })
  return outputFiles[0]?.text ?? ''
}

/** Starts workerd with one Worker, which may reach private addresses; rejects with what it said where it fails. */
const startWorker = async (
  source: string,
  { date, flags = [] }: Compatibility,
  bindings: Readonly<Record<string, string>> = {},
) => {
  const folder = emptyFolder()
  writeFileSync(folder.file('worker.js'), await bundle(source))
  writeFileSync(
    folder.file('config.capnp'),
    `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "internet", network = (allow = ["private"]))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")]
);
const worker :Workerd.Worker = (
  modules = [(name = "worker.js", esModule = embed "worker.js")],
  compatibilityDate = "${date}",
  compatibilityFlags = ${JSON.stringify(flags)},
  bindings = [${Object.entries(bindings).map(([name, text]) => `(name = "${name}", text = "${text}")`)}]
);`,
  )
  try {
    const server = await startServer({
      command: [runtimes.workerd, 'serve', '--control-fd=1', folder.file('config.capnp')],
      args: [],
      listening: /"port":(\d+)/,
    })
    const url = `http://127.0.0.1:${server.url}`
    return {
      url,
      stderr: server.stderr,
      record: server.record,
      get: async () => (await fetch(url)).json(),
      kill: async (body: object, token = '') => {
        const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
        const init = { method: 'POST', headers, body: JSON.stringify(body) }
        const response = await fetch(`${url}/api/connections/kill`, init)
        return [response.status, await response.json()]
      },
      [Symbol.asyncDispose]: server[Symbol.asyncDispose],
    }
  } finally {
    folder[Symbol.dispose]()
  }
}

/** `options` is source text: what createServerApp takes beside the peer. */
const gateway = (peer: string, options: string) => `
  import { createServerApp } from './server/index.ts'
  import { remoteSignaller } from './app/remote.ts'
  export default createServerApp({
    signaller: remoteSignaller({ url: ${JSON.stringify(peer)} }),
    ${options},
    log: { write: (line) => console.log(line) },
  })`

const NAMES = ['127.0.0.1', 'localhost']
const GUARDS = `
    token: '${GUARDED.PSYS_KILL_TOKEN}',
    hosts: ${JSON.stringify([...NAMES, GUARDED.PSYS_KILL_ALLOW_HOST])},
    origins: ['${GUARDED.PSYS_KILL_ALLOW_ORIGIN}']`

const onNode = `
  import { createApp } from './app/app.ts'
  import { nodeSignaller } from './node/index.ts'
  export default createApp({ signaller: nodeSignaller() })`

const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : undefined
const has: Feature[] = ['look', 'server', 'other user']

for (const compatibility of [{ date: '2024-01-01' }, { date: '2026-11-17' }]) {
  describe(`workerd (${versionOf('workerd')}, date ${compatibility.date}), remoteSignaller`, () => {
    let peer: RunningServer
    let worker: Awaited<ReturnType<typeof startWorker>>
    let guarded: Awaited<ReturnType<typeof startWorker>>
    const answers: Peer['answers'] = []
    beforeAll(async () => {
      peer = await startServer({ ...user })
      worker = await startWorker(gateway(peer.url, `hosts: ${JSON.stringify(NAMES)}`), compatibility)
      guarded = await startWorker(gateway(peer.url, GUARDS), compatibility)
    })
    afterAll(async () => {
      await worker[Symbol.asyncDispose]()
      await guarded[Symbol.asyncDispose]()
      await peer[Symbol.asyncDispose]()
    })
    describeConformance(has, () => {
      const { url, record } = worker
      return { url, record, guarded, has, pid: peer.child.pid ?? 0, user, answers }
    })
  })
}

describe('remoteSignaller in workerd', () => {
  test('kills with the Worker that wrangler-incompatible.md shows', async () => {
    const [, example = ''] = /```ts\n(.*?)```/s.exec(readFileSync(`${src}/../wrangler-incompatible.md`, 'utf8')) ?? []
    await using peer = await startServer({ env: { PSYS_KILL_TOKEN: TOKEN } })
    const bindings = { PSYS_KILL_URL: peer.url, PSYS_KILL_TOKEN: TOKEN }
    const source = example.replace("'psys-kill'", "'./index.ts'")
    await using worker = await startWorker(source, { date: '2026-11-17' }, bindings)
    using target = await startTarget()
    expect(await worker.kill({ pid: target.pid, waitMs: 5000 })).toEqual([200, { ok: true, exited: true }])
    expect(await target.ended).toBe('SIGTERM')
  })

  test('hands on that its peer supports no condition, and nothing is signalled', async () => {
    const pids: number[] = []
    const terminate = (pid: number) => {
      pids.push(pid)
      return { code: 'sent' } as const
    }
    const node = serve({ fetch: createApp({ signaller: { terminate } }).fetch, hostname: '127.0.0.1', port: 0 })
    await once(node, 'listening')
    const address = node.address()
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`
    const source = gateway(url, `hosts: ${JSON.stringify(NAMES)}`)
    await using worker = await startWorker(source, { date: '2026-11-17' })
    try {
      const startedBefore = '2026-11-24T08:00:00Z'
      const no = (condition: string) => [501, { error: `${condition} is not supported here` }]
      expect(await worker.kill({ pid: PID, startedBefore })).toEqual(no('startedBefore'))
      expect(await worker.kill({ pid: PID, waitMs: 1 })).toEqual(no('waitMs'))
      expect(pids).toEqual([])
      expect(await worker.kill({ pid: PID })).toEqual([200, { ok: true }])
      expect(pids).toEqual([PID])
    } finally {
      node.close()
    }
  })

  test('asks for the token with requireToken alone, and gives the peer its own', async () => {
    const peerToken = 'the-token-of-its-peer'
    await using peer = await startServer({ env: { PSYS_KILL_TOKEN: peerToken } })
    const options = JSON.stringify({ url: peer.url, token: peerToken })
    const source = `import { Hono } from 'hono'; import { createApp, remoteSignaller } from './index.ts'
      import { requireToken } from './server/index.ts'
      export default new Hono().use(requireToken('${GUARDED.PSYS_KILL_TOKEN}'))
        .route('/', createApp({ signaller: remoteSignaller(${options}) }))`
    await using worker = await startWorker(source, { date: '2026-11-17' })
    using target = await startTarget()
    for (const token of ['', peerToken, `${GUARDED.PSYS_KILL_TOKEN}x`])
      expect(await worker.kill({ pid: target.pid }, token)).toEqual([401, { error: 'Unauthorized' }])
    expect(target.isAlive()).toBe(true)
    expect(await worker.kill({ pid: target.pid }, GUARDED.PSYS_KILL_TOKEN)).toEqual([200, { ok: true }])
    expect(await target.ended).toBe('SIGTERM')
  })

  test('fails when the peer cannot be reached, with the cause in the log', async () => {
    const { url } = await startServer().then(async (peer) => {
      await peer.stop()
      return peer
    })
    const source = `import { createApp } from './app/app.ts'; import { remoteSignaller } from './app/remote.ts'
      export default createApp({ signaller: remoteSignaller({ url: ${JSON.stringify(url)} }) })`
    await using worker = await startWorker(source, { date: '2026-11-17' })
    expect(await worker.kill({ pid: PID })).toEqual([500, { error: 'Failed to kill process' }])
    await expect.poll(() => worker.stderr()).toContain('Network connection lost')
  })
})

describe('nodeSignaller in workerd', () => {
  test.each(WITHOUT_FS)('does not deploy at $date with the flags $flags: node:fs is missing', async (compatibility) => {
    await expect(startWorker(onNode, compatibility)).rejects.toThrow(
      /No such module "node:fs"|Module not found: node:fs/,
    )
  })

  test.each(WITH_FS)('deploys at $date with the flags $flags, and kills nothing', async (compatibility) => {
    await using worker = await startWorker(onNode, compatibility)
    using target = await startTarget()
    expect(await worker.kill({ pid: target.pid })).toEqual([500, { error: 'Failed to kill process' }])
    await expect.poll(() => worker.stderr()).toContain('ERR_METHOD_NOT_IMPLEMENTED')
    expect(await worker.kill({ pid: target.pid, startedBefore: '2026-11-24T08:00:00Z' })).toEqual([
      501,
      { error: 'startedBefore is not supported here' },
    ])
    expect(await worker.kill({ pid: target.pid, waitMs: 5 })).toEqual([500, { error: 'Failed to kill process' }])
    expect(await worker.kill({ pid: 1 })).toEqual([403, { error: 'Permission denied' }])
    expect(await worker.kill({ pid: '1e3' })).toEqual([400, { error: 'Invalid pid' }])
    expect(target.isAlive()).toBe(true)
  })
})

describe('what workerd has of Node', () => {
  const probe = `
    import process from 'node:process'
    const codeOf = () => { try { process.kill(${PID}, 'SIGTERM') } catch (error) { return error.code ?? error.message } }
    export default { fetch: () => Response.json({ kill: typeof process.kill, error: codeOf(), pid: process.pid }) }`

  test.each(WITH_FS)(
    'at $date with $flags: a process.kill that always throws, and the PID 1',
    async (compatibility) => {
      await using worker = await startWorker(probe, compatibility)
      expect(await worker.get()).toEqual({ kill: 'function', error: 'ERR_METHOD_NOT_IMPLEMENTED', pid: 1 })
    },
  )

  test.each(WITHOUT_FS)('at $date with $flags: no process.kill, and no PID', async (compatibility) => {
    await using worker = await startWorker(probe, compatibility)
    expect(await worker.get()).toEqual({ kill: 'undefined', error: 'process.kill is not a function' })
  })

  test('no /proc', async () => {
    const source = `import { openSync } from 'node:fs'
      const codeOf = () => { try { openSync('/proc/self/stat', 'r') } catch (error) { return error.code } }
      export default { fetch: () => Response.json(codeOf()) }`
    await using worker = await startWorker(source, { date: '2026-11-17' })
    expect(await worker.get()).toBe('ENOENT')
  })

  test('a child_process that starts none', async () => {
    const source = `import { spawn } from 'node:child_process'
      const codeOf = () => { try { spawn('kill') } catch (error) { return error.code } }
      export default { fetch: () => Response.json(codeOf()) }`
    await using worker = await startWorker(source, { date: '2026-11-17' })
    expect(await worker.get()).toBe('ERR_METHOD_NOT_IMPLEMENTED')
  })

  test.each([
    { date: '2025-09-15', flags: NODEJS_COMPAT },
    { date: '2024-09-23', flags: NODEJS_COMPAT },
  ])('no child_process at $date with $flags', async (compatibility) => {
    const source = `import { spawn } from 'node:child_process'; export default { fetch: () => Response.json(typeof spawn) }`
    await expect(startWorker(source, compatibility)).rejects.toThrow('No such module "node:child_process"')
  })

  test('no command line for the standalone server, which serves nothing', async () => {
    const source = "await import('./standalone/main.ts'); export default { fetch: () => Response.json('mine') }"
    await using worker = await startWorker(source, { date: '2026-11-17' })
    expect(await worker.get()).toBe('mine')
    await expect.poll(() => worker.stderr()).toContain('parseArgs is not implemented')
  })
})
