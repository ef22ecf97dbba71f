import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, readlinkSync, realpathSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import { startSleeper, startTarget } from '../support/processes.ts'
import { BUILT_FILE, type RunningServer, startServer } from '../support/server.ts'
import { askTls, authority, LOOPBACK } from '../support/tls.ts'
import { describeConformance, type Feature, GUARDED, IGNORES } from './conformance.ts'
import { implementations, killAt, OTHER_USER, runtimes, start, versionOf } from './runtimes.ts'
import { gateway, startWorker } from './worker.ts'

const folder = emptyFolder()
chmodSync(folder.path, 0o755)
const { ca, caFile, ...ours } = authority(folder, 'ours')
const { certFile, keyFile } = ours.issue('server', LOOPBACK)
chmodSync(keyFile, 0o644)
afterAll(() => folder[Symbol.dispose]())

const withTls = implementations
  .filter(({ what, runtime }) => what === 'single file' && runtime !== 'Bun')
  .map((implementation) => ({ ...implementation, what: 'single file, TLS', lacks: ['connections'] as Feature[] }))
const TLS = ['--tls-cert', certFile, '--tls-key', keyFile]

for (const implementation of [...implementations, ...withTls]) {
  const { runtime, what, lacks = [] } = implementation
  describe(`${runtime} (${versionOf(runtime)}), ${what}`, () => {
    const features: Feature[] = ['look', 'other user', 'server', 'connections', 'target']
    const has = features.filter((feature) => !lacks.includes(feature))
    const tls = what.endsWith('TLS') ? TLS : []
    let server: RunningServer
    let guarded: RunningServer | undefined
    beforeAll(async () => {
      server = await start(implementation, {}, tls)
      guarded = has.includes('server') ? await start(implementation, GUARDED, tls) : undefined
      // The name in the table is true: no shim or shebang has started another runtime.
      expect(readlinkSync(`/proc/${server.child.pid}/exe`)).toBe(realpathSync(runtimes[runtime]))
    })
    afterAll(() => Promise.all([server, guarded].map((each) => each?.[Symbol.asyncDispose]())))

    describeConformance(has, () => {
      return { ...server, guarded, pid: server.child.pid ?? 0, user: OTHER_USER, remote: '127.0.0.1', ca }
    })

    describe('listening', () => {
      test('listens on one port of 127.0.0.1, and nowhere else', () => {
        expect(listeningPlaces(server.child.pid)).toEqual([new URL(server.url).host])
      })
    })
  })
}

const onNode = withTls.filter(({ runtime }) => runtime !== 'Deno')
test.each(onNode)('$runtime requires client certificates', async (implementation) => {
  await using server = await start(implementation, {}, [...TLS, '--tls-client-ca', caFile])
  expect(await askTls(server.url, { ca })).toMatchObject({ status: 401 })
})

test('every runtime answers a wait of 15 s as soon as the process exits', async () => {
  const wait = async (url: string) => {
    using target = await startTarget(IGNORES, OTHER_USER)
    const answering = killAt(url, { pid: target.pid, waitMs: 15_000 }).catch((error) => String(error.cause ?? error))
    // Longer than a connection may be idle by default: on Bun, 10 s.
    await sleep(12_500)
    target.child.kill('SIGKILL')
    return answering
  }
  const onWorkerd = async () => {
    await using peer = await startServer({ ...OTHER_USER })
    await using worker = await startWorker(gateway(peer.url))
    return ['workerd', await wait(worker.url)]
  }
  const waits = implementations.map(async (implementation) => {
    await using server = await start(implementation)
    return [`${implementation.runtime}, ${implementation.what}`, await wait(server.url)]
  })
  const answers = await Promise.all([onWorkerd(), ...waits])
  expect(answers).toEqual(answers.map(([name]) => [name, [200, '{"ok":true,"exited":true}', null]]))
})

test.for([
  ['Bun', ['build', '--compile', 'psys-kill.cjs', '--outfile', 'psys-kill']],
  ['Node 26', ['--build-sea', 'sea.json']],
] as const)('%s makes an executable that kills', async ([runtime, args]) => {
  using made = emptyFolder()
  copyFileSync(BUILT_FILE, made.file('psys-kill.cjs'))
  writeFileSync(made.file('sea.json'), '{"main":"psys-kill.cjs","output":"psys-kill"}')
  execFileSync(runtimes[runtime], args, { cwd: made.path, stdio: 'pipe' })
  using target = startSleeper()
  await using server = await startServer({ command: [made.file('psys-kill')] })
  expect(await killAt(server.url, { pid: target.pid, waitMs: 60_000 })).toEqual([
    200,
    '{"ok":true,"exited":true}',
    null,
  ])
  expect(await target.ended).toBe('SIGTERM')
})
