import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { refusal } from '../support/post.ts'
import { startSleeper } from '../support/processes.ts'
import { type RunningServer, startServer, TOKEN } from '../support/server.ts'
import { describeConformance, type Feature, GUARDED } from './conformance.ts'
import { OTHER_USER, versionOf } from './runtimes.ts'
import { at, gateway, NEWEST, startWorker } from './worker.ts'

const COMPAT = 'nodejs_compat'
const FAILED = [500, '{"error":"Failed to kill process"}', null]

const { PSYS_KILL_ALLOW_HOST: host, PSYS_KILL_ALLOW_ORIGIN: origin } = GUARDED
const GUARDS = { token: TOKEN, origins: [origin], hosts: ['127.0.0.1', host] }
// Not 'target': workerd makes the URL from Host.
const has: Feature[] = ['look', 'server', 'other user']

for (const compatibility of [at('2024-01-01'), NEWEST]) {
  describe(`workerd (${versionOf('workerd')}, date ${compatibility.date}), remoteSignaller`, () => {
    let peer: RunningServer
    let worker: Awaited<ReturnType<typeof startWorker>>
    let guarded: typeof worker
    beforeAll(async () => {
      peer = await startServer({ ...OTHER_USER })
      worker = await startWorker(gateway(peer.url), compatibility)
      guarded = await startWorker(gateway(peer.url, GUARDS), compatibility)
    })
    afterAll(() => Promise.all([worker, guarded, peer].map((server) => server[Symbol.asyncDispose]())))
    describeConformance(has, () => {
      const { url, record } = worker
      return { url, record, guarded, pid: peer.child.pid ?? 0, user: OTHER_USER }
    })
  })
}

test('remoteSignaller in workerd kills with the Worker that wrangler-incompatible.md shows', async () => {
  const text = readFileSync(new URL('../../wrangler-incompatible.md', import.meta.url), 'utf8')
  const [, example = ''] = /```ts\n(.*?)```/s.exec(text) ?? []
  await using peer = await startServer({ env: { PSYS_KILL_TOKEN: TOKEN } })
  const variables = { PSYS_KILL_URL: peer.url, PSYS_KILL_TOKEN: TOKEN }
  await using worker = await startWorker(example.replace("'psys-kill'", "'./index.ts'"), NEWEST, variables)
  using target = startSleeper()
  expect(await worker.kill({ pid: target.pid, waitMs: 60_000 })).toEqual([200, '{"ok":true,"exited":true}', null])
  expect(await target.ended).toBe('SIGTERM')
})

/** A Worker tells the values of expressions, or the codes of what they throw. */
const tell = async (imports: string, expressions: readonly string[], compatibility = NEWEST) => {
  const source = `import ${imports}
    const told = (get) => { try { return get() } catch (error) { return error.code ?? error.message } }
    export default { fetch: () => Response.json([${expressions.map((each) => `told(() => ${each})`)}]) }`
  await using worker = await startWorker(source, compatibility)
  return (await fetch(worker.url)).json()
}

describe('nodeSignaller in workerd', () => {
  const onNode = `
    import { createApp } from './app/app.ts'
    import { nodeSignaller } from './node/index.ts'
    export default createApp({ signaller: nodeSignaller() })`
  const KILL = [
    "process from 'node:process'",
    ['typeof process.kill', 'process.pid', `process.kill(${2 ** 31 - 1})`],
  ] as const

  // The dates at which something changes: whether a Worker has node:fs.
  const WITH_FS = [at('2025-09-15', COMPAT), at('2026-08-03', COMPAT), at('2026-08-04'), NEWEST]
  const OLD = [at('2024-01-01'), at('2024-09-23', COMPAT), at('2025-09-14', COMPAT), at('2026-08-03')]
  const WITHOUT_FS = [...OLD, at('2026-11-17', 'no_nodejs_compat')]

  test.each(WITHOUT_FS)('does not deploy at $date with the flags $flags', async (compatibility) => {
    const noFs = /No such module "node:fs"|Module not found: node:fs/
    await expect(startWorker(onNode, compatibility)).rejects.toThrow(noFs)
    expect(await tell(...KILL, compatibility)).toEqual(['undefined', null, 'process.kill is not a function'])
  })

  test.each(WITH_FS)('deploys at $date with the flags $flags, and kills nothing', async (compatibility) => {
    await using worker = await startWorker(onNode, compatibility)
    using target = startSleeper()
    const { pid } = target
    expect(await worker.kill({ pid })).toEqual(FAILED)
    await expect.poll(worker.stderr).toContain('ERR_METHOD_NOT_IMPLEMENTED')
    expect(await worker.kill({ pid, waitMs: 5 })).toEqual(FAILED)
    const unable = refusal(501, 'instance is not supported here', 'not supported')
    expect(await worker.kill({ pid, instance: 'x' })).toEqual(unable)
    expect(await worker.kill({ pid: 1 })).toEqual(refusal(403, 'Permission denied', 'protected'))
    expect(await worker.kill({ pid: '1e3' })).toEqual(refusal(400, 'Invalid pid', 'pid'))
    expect(target.isAlive()).toBe(true)
    expect(await tell(...KILL, compatibility)).toEqual(['function', 1, 'ERR_METHOD_NOT_IMPLEMENTED'])
  })
})

test('workerd has no /proc, and no child_process that starts anything', async () => {
  expect(await tell("{ openSync } from 'node:fs'", ["openSync('/proc/self/stat', 'r')"])).toEqual(['ENOENT'])
  const SPAWN = ["{ spawn } from 'node:child_process'", ["spawn('kill')"]] as const
  expect(await tell(...SPAWN)).toEqual(['ERR_METHOD_NOT_IMPLEMENTED'])
  for (const old of [at('2024-09-23', COMPAT), at('2025-09-15', COMPAT)])
    await expect(tell(...SPAWN, old)).rejects.toThrow('No such module "node:child_process"')
})

test('the standalone server finds no command line in workerd, and serves nothing', async () => {
  const source = "await import('./standalone/main.ts'); export default { fetch: () => Response.json('mine') }"
  await using worker = await startWorker(source)
  expect(await (await fetch(worker.url)).json()).toBe('mine')
  await expect.poll(worker.stderr).toContain('parseArgs is not implemented')
})
