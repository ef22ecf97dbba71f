import { chmodSync, readlinkSync, realpathSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import type { RunningServer } from '../support/server.ts'
import { askTls, authority, LOOPBACK } from '../support/tls.ts'
import { describeConformance, type Feature, GUARDED, type Peer } from './conformance.ts'
import { implementations, OTHER_USER, runtimes, start, versionOf } from './runtimes.ts'

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
    const features: Feature[] = ['look', 'server', 'other user', 'connections', 'target']
    const has = features.filter((feature) => !lacks.includes(feature))
    const tls = what.endsWith('TLS') ? TLS : []
    let server: RunningServer
    let guarded: RunningServer | undefined
    let peer: Peer
    beforeAll(async () => {
      server = await start(implementation, {}, tls)
      guarded = has.includes('server') ? await start(implementation, GUARDED, tls) : undefined
      const { url, record, child } = server
      // The name in the table is true: no shim or shebang has started another runtime.
      expect(readlinkSync(`/proc/${child.pid}/exe`)).toBe(realpathSync(runtimes[runtime]))
      peer = { url, record, guarded, pid: child.pid ?? 0, user: OTHER_USER, remote: '127.0.0.1', ca }
    })
    afterAll(() => Promise.all([server, guarded].map((each) => each?.[Symbol.asyncDispose]())))

    describeConformance(has, () => peer)

    describe('listening', () => {
      test('listens on one port of 127.0.0.1, and nowhere else', () => {
        expect(listeningPlaces(peer.pid)).toEqual([`127.0.0.1:${new URL(peer.url).port}`])
      })
    })
  })
}

const onNode = withTls.filter(({ runtime }) => runtime !== 'Deno')
test.each(onNode)('$runtime requires client certificates', async (implementation) => {
  await using server = await start(implementation, {}, [...TLS, '--tls-client-ca', caFile])
  expect(await askTls(server.url, { ca })).toMatchObject({ status: 401 })
})
