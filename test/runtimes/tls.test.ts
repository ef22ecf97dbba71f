import { afterAll, beforeAll, expect, test } from 'vitest'
import { authority, LOOPBACK } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { askTls } from '../support/tls.ts'
import { denoEnv, type Runtime, runtimes } from './runtimes.ts'

const folder = emptyFolder()
afterAll(() => folder[Symbol.dispose]())
let ca: string
let args: readonly string[]
let clientCa: readonly string[]
beforeAll(() => {
  const { caFile, ...ours } = authority(folder, 'ours')
  const { certFile, keyFile } = ours.issue('server', LOOPBACK)
  ca = ours.ca
  args = ['--port', '0', '--tls-cert', certFile, '--tls-key', keyFile]
  clientCa = ['--tls-client-ca', caFile]
})

const start = (runtime: Runtime, more: readonly string[] = []) =>
  startServer({
    command: [runtimes[runtime], ...(runtime === 'Deno' ? ['run', '--allow-all'] : []), BUILT_FILE],
    args: [...args, ...more],
    env: denoEnv(folder.path),
  })

test.each(['Node 20.3', 'Node 22', 'Node 24', 'Node 26', 'Deno'] as const)('%s kills over TLS', async (runtime) => {
  await using server = await start(runtime)
  using target = await startTarget()
  expect(await askTls(server.url, { ca }, { body: { pid: target.pid } })).toMatchObject({ status: 200 })
  expect(await target.ended).toBe('SIGTERM')
})

test.each(['Node 20.3', 'Node 22', 'Node 24', 'Node 26'] as const)(
  '%s asks for client certificates',
  async (runtime) => {
    await using server = await start(runtime, clientCa)
    expect(await askTls(server.url, { ca })).toMatchObject({ status: 401 })
  },
)

test('what Deno and Bun cannot do they refuse in one line', async () => {
  await expect(start('Deno', clientCa)).rejects.toThrow(/psys-kill: Client certificates [^\n]+\.\n$/)
  await expect(start('Bun')).rejects.toThrow(/psys-kill: Bun cannot serve TLS here; [^\n]+\.\n$/)
})
