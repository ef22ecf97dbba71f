import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { authority, LOOPBACK } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { freePort } from '../support/free-port.ts'
import { blocksOf } from '../support/markdown.ts'
import { needsOpenssl } from '../support/needs.ts'
import { missingForNginx, startNginx } from '../support/nginx.ts'
import { type PackedPackage, packPackage, SERVICE_DEPENDENCIES } from '../support/package.ts'
import { KILL } from '../support/post.ts'
import { startSleeper } from '../support/processes.ts'
import { type RunningServer, startServer } from '../support/server.ts'

// What stands in front of a psys-kill that asks for client certificates, and has one.

beforeEach(needsOpenssl)

const folder = emptyFolder()
let server: RunningServer
let gateway: ReturnType<ReturnType<typeof authority>['issue']>
let caFile: string
beforeAll(async () => {
  const ours = authority(folder, 'ours')
  const { certFile, keyFile } = ours.issue('server', LOOPBACK)
  gateway = ours.issue('gateway')
  caFile = ours.caFile
  server = await startServer({
    args: ['--port', '0', '--tls-cert', certFile, '--tls-key', keyFile, '--tls-client-ca', caFile],
  })
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const isKilledBy = async (caller: string, ask: (body: string) => unknown) => {
  using target = startSleeper()
  await ask(JSON.stringify({ pid: target.pid }))
  expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({ by: caller, outcome: 'sent' })
  expect(await target.ended).toBe('SIGTERM')
}

test('nginx kills with a certificate of its own', async ({ skip }) => {
  skip(missingForNginx.length > 0, `needs ${missingForNginx.join()}`)
  const port = await freePort()
  await using _nginx = await startNginx(`server { listen 127.0.0.1:${port}; location / {
    proxy_pass ${server.url}; proxy_set_header Host $proxy_host;
    proxy_ssl_certificate ${gateway.certFile}; proxy_ssl_certificate_key ${gateway.keyFile};
    proxy_ssl_trusted_certificate ${caFile}; proxy_ssl_verify on; proxy_ssl_name localhost; } }`)
  await isKilledBy('gateway', async (body) => {
    const headers = { 'content-type': 'application/json' }
    expect((await fetch(`http://127.0.0.1:${port}${KILL}`, { method: 'POST', headers, body })).status).toBe(200)
  })
})

test("the README's gateway kills with undici's Agent, and type-checks", async () => {
  using tarball: PackedPackage = await packPackage()
  const blocks = blocksOf(readFileSync(new URL('../../README.md', import.meta.url), 'utf8'))
  const [block] = blocks.filter(({ directive }) => directive === 'skip it needs certificates')
  const own = (block?.text ?? '')
    .replace(/`\/etc\/psys-kill\/.*?`/, 'name')
    .replace("'me.pem'", JSON.stringify(gateway.certFile))
    .replace("'me.key'", JSON.stringify(gateway.keyFile))
    .replace("'ca.pem'", JSON.stringify(caFile))
    .replace('https://10.0.0.1:3000', server.url)
  const project = await tarball.createProject(
    'gateway',
    { ...SERVICE_DEPENDENCIES, undici: '7.30.2' },
    { gateway: own },
  )
  const options = { module: 'nodenext', target: 'es2022', types: ['node'], strict: true, skipLibCheck: true }
  expect(await project.problems('typescript7', options, ['gateway.ts'])).toBe('')
  await isKilledBy('gateway', (body) => {
    const ask = `import { app } from './gateway.mjs'
      const headers = { 'content-type': 'application/json' }
      const response = await app.request('${KILL}', { method: 'POST', headers, body: ${JSON.stringify(body)} })
      console.log(response.status, await response.text())
      process.exit()`
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', ask], {
      cwd: project.path,
      encoding: 'utf8',
    })
    expect(stdout + stderr).toBe('200 {"ok":true}\n')
  })
})
