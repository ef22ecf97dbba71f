import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSleeper } from '../support/processes.ts'
import { type RunningServer, startServer, TOKEN } from '../support/server.ts'
import { describeConformance, type Feature, GUARDED } from './conformance.ts'
import { OTHER_USER, versionOf } from './runtimes.ts'
import {
  type Compatibility,
  gateway,
  NEWEST,
  startWorker,
  WITH_FS,
  WITHOUT_CHILD_PROCESS,
  WITHOUT_FS,
} from './worker.ts'

/** A PID that no process has. */
const PID = 2 ** 31 - 1
const FAILED = [500, { error: 'Failed to kill process' }]

const HOSTS = "hosts: ['127.0.0.1', 'localhost']"
const { PSYS_KILL_ALLOW_HOST: host, PSYS_KILL_ALLOW_ORIGIN: origin } = GUARDED
const GUARDS = `token: '${TOKEN}', origins: ['${origin}'], hosts: ['127.0.0.1', 'localhost', '${host}']`
// workerd too makes the URL from Host.
const has: Feature[] = ['look', 'server', 'other user']

for (const compatibility of [{ date: '2024-01-01', flags: [] }, NEWEST]) {
  describe(`workerd (${versionOf('workerd')}, date ${compatibility.date}), remoteSignaller`, () => {
    let peer: RunningServer
    let worker: Awaited<ReturnType<typeof startWorker>>
    let guarded: typeof worker
    beforeAll(async () => {
      peer = await startServer({ ...OTHER_USER })
      worker = await startWorker(gateway(peer.url, HOSTS), compatibility)
      guarded = await startWorker(gateway(peer.url, GUARDS), compatibility)
    })
    afterAll(() => Promise.all([worker, guarded, peer].map((server) => server[Symbol.asyncDispose]())))
    describeConformance(has, () => {
      const { url, record } = worker
      return { url, record, guarded, pid: peer.child.pid ?? 0, user: OTHER_USER }
    })
  })
}

describe('remoteSignaller in workerd', () => {
  test('kills with the Worker that wrangler-incompatible.md shows', async () => {
    const text = readFileSync(new URL('../../wrangler-incompatible.md', import.meta.url), 'utf8')
    const [, example = ''] = /```ts\n(.*?)```/s.exec(text) ?? []
    await using peer = await startServer({ env: { PSYS_KILL_TOKEN: TOKEN } })
    const variables = { PSYS_KILL_URL: peer.url, PSYS_KILL_TOKEN: TOKEN }
    await using worker = await startWorker(example.replace("'psys-kill'", "'./index.ts'"), NEWEST, variables)
    using target = startSleeper()
    expect(await worker.kill({ pid: target.pid, waitMs: 60_000 })).toEqual([200, { ok: true, exited: true }])
    expect(await target.ended).toBe('SIGTERM')
  })
})

describe('nodeSignaller in workerd', () => {
  const onNode = `
    import { createApp } from './app/app.ts'
    import { nodeSignaller } from './node/index.ts'
    export default createApp({ signaller: nodeSignaller() })`

  test.each(WITHOUT_FS)('does not deploy at $date with the flags $flags: node:fs is missing', async (compatibility) => {
    const noFs = /No such module "node:fs"|Module not found: node:fs/
    await expect(startWorker(onNode, compatibility)).rejects.toThrow(noFs)
  })

  test.each(WITH_FS)('deploys at $date with the flags $flags, and kills nothing', async (compatibility) => {
    await using worker = await startWorker(onNode, compatibility)
    using target = startSleeper()
    const { pid } = target
    expect(await worker.kill({ pid })).toEqual(FAILED)
    await expect.poll(worker.stderr).toContain('ERR_METHOD_NOT_IMPLEMENTED')
    expect(await worker.kill({ pid, waitMs: 5 })).toEqual(FAILED)
    expect(await worker.kill({ pid, instance: 'x' })).toEqual([501, { error: 'instance is not supported here' }])
    expect(await worker.kill({ pid: 1 })).toEqual([403, { error: 'Permission denied' }])
    expect(await worker.kill({ pid: '1e3' })).toEqual([400, { error: 'Invalid pid' }])
    expect(target.isAlive()).toBe(true)
  })
})

describe('what workerd has of Node', () => {
  /** A Worker that answers what an expression is, or the code of what it throws. */
  const tell = async (imports: string, expression: string, at?: Compatibility) => {
    const source = `import ${imports}
      const told = () => { try { return ${expression} } catch (error) { return error.code ?? error.message } }
      export default { fetch: () => Response.json(told()) }`
    await using worker = await startWorker(source, at)
    return await worker.get()
  }
  const PROCESS = "process from 'node:process'"

  test.each([
    ...WITH_FS.map((at) => ({ ...at, has: ['function', 1], error: 'ERR_METHOD_NOT_IMPLEMENTED' })),
    ...WITHOUT_FS.map((at) => ({ ...at, has: ['undefined', null], error: 'process.kill is not a function' })),
  ])('a process.kill at $date with $flags: $error', async ({ has, error, ...at }) => {
    expect(await tell(PROCESS, '[typeof process.kill, process.pid]', at)).toEqual(has)
    expect(await tell(PROCESS, `process.kill(${PID}, 'SIGTERM')`, at)).toBe(error)
  })

  test('no /proc, and no child_process that starts anything', async () => {
    expect(await tell("{ openSync } from 'node:fs'", "openSync('/proc/self/stat', 'r')")).toBe('ENOENT')
    const spawn = ["{ spawn } from 'node:child_process'", "spawn('kill')"] as const
    expect(await tell(...spawn)).toBe('ERR_METHOD_NOT_IMPLEMENTED')
    for (const old of WITHOUT_CHILD_PROCESS)
      await expect(tell(...spawn, old)).rejects.toThrow('No such module "node:child_process"')
  })

  test('no command line for the standalone server, which serves nothing', async () => {
    const source = "await import('./standalone/main.ts'); export default { fetch: () => Response.json('mine') }"
    await using worker = await startWorker(source)
    expect(await worker.get()).toBe('mine')
    await expect.poll(worker.stderr).toContain('parseArgs is not implemented')
  })
})
