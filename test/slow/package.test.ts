import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { blocksOf, linksOf } from '../support/markdown.ts'
import { needsOpenssl } from '../support/needs.ts'
import { document } from '../support/openapi.ts'
import { KILL, postRaw, refusal, told } from '../support/post.ts'
import { startSleeper } from '../support/processes.ts'
import { startServer, TOKEN } from '../support/server.ts'
import { authority, LOOPBACK } from '../support/tls.ts'
import { exec, npm, type PackedPackage, type Project, packPackage, ROOT, runTool } from './installed.ts'

const README = readFileSync(join(ROOT, 'README.md'), 'utf8')
const blockWith = (text: string) =>
  blocksOf(README).find((block) => block.text.includes(text))?.text ?? expect.unreachable(`no block with ${text}`)
/** For startServer. */
const SAYS = `({ port }: { port: number }) => console.log(\`"listening on http://127.0.0.1:\${port}"\`)`
const serving = (fetch: string) => `serve({ fetch: ${fetch}, hostname: '127.0.0.1', port: 0 }, ${SAYS})`

/** A service of somebody's own. */
const SERVICE = `
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { createApp, KILL_PATH } from 'psys-kill'
import { nodeSignaller } from 'psys-kill/node'
import { accessLog, requireToken } from 'psys-kill/server'

const kill = createApp({ signaller: nodeSignaller() })
const service = new Hono<{ Variables: { user: string } }>()
  .use('/token/*', requireToken('${TOKEN}'))
  .use('/logged' + KILL_PATH, accessLog({ write: (line) => console.log(line) }))
  .get('/', (c) => c.text('their own'))
  .route('/', kill)
  .route('/token', kill)
  .route('/logged', kill)
export type Service = typeof service
${serving('service.fetch')}`

/** A client whose types follow from those of the service and of the package. */
const CLIENT = `
import { hc } from 'hono/client'
import { REASON_HEADER, type AppType, type Reason } from 'psys-kill'
import document from 'psys-kill/openapi.json' with { type: 'json' }
import type { Service } from './service.ts'

const [url = '', pid = ''] = process.argv.slice(2)
const kill = hc<AppType>(url).api.connections.kill.$post
const look = await kill({ json: { pid, dryRun: true } })
const instance = look.status === 200 ? (await look.json()).process?.instance : undefined
if (instance === undefined) throw new Error(String(look.status))
const { status } = await kill({ json: { pid: Number(pid), instance, waitMs: 5000 } })
const again = await hc<Service>(url).logged.api.connections.kill.$post({ json: { pid } })
if (again.status !== 404) throw new Error(String(again.status))
const error: 'Process not found' = (await again.json()).error
const gone: Reason = 'gone'
// @ts-expect-error A PID is a number or a string.
await kill({ json: { pid: true } })
console.log(JSON.stringify([status, error, again.headers.get(REASON_HEADER) === gone, document.openapi]))
`

/** Each entry, without any types of Node. */
const ENTRIES = `
import { createApp } from 'psys-kill'
import { lineLog, nodeSignaller } from 'psys-kill/node'
import { createServerApp } from 'psys-kill/server'

const stream = { write: () => {}, on: () => {} }
export const app = createApp({ signaller: nodeSignaller({ protect: [1] }) })
export const server = createServerApp({ signaller: nodeSignaller(), log: lineLog(stream) })
`

/** The README's blocks for other frameworks, in a service of each with a route of its own. */
const HOSTS = `
import { serve } from '@hono/node-server'
import { Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import type { NestExpressApplication } from '@nestjs/platform-express'
import express from 'express'
import Fastify from 'fastify'
${blockWith('export const POST')}
const [, , name] = process.argv
const expressApp = express()
const fastify = Fastify()
class Root {}
Module({})(Root)
const nestApp = await NestFactory.create<NestExpressApplication>(Root, { logger: false })
${blockWith('nestApp.getHttpAdapter')}
expressApp.use(express.json()).post('/own', (request, response) => { response.json(request.body) })
fastify.post('/own', async (request) => request.body)
const says = ${SAYS}
const portOf = (url: string) => says({ port: Number(new URL(url).port) })
if (name === 'next') ${serving('POST')}
else if (name === 'fastify') portOf(await fastify.listen({ port: 0 }))
else if (name === 'nest') nestApp.listen(0, '127.0.0.1').then(() => nestApp.getUrl()).then(portOf)
else { const server = expressApp.listen(0, '127.0.0.1', () => says({ port: Object(server.address()).port })) }
`

/** A service that documents itself. */
const DOCUMENTED = `
import { serve } from '@hono/node-server'
import { createRoute, OpenAPIHono } from '@hono/zod-openapi'
import { createApp, KILL_PATH } from 'psys-kill'
import { nodeSignaller } from 'psys-kill/node'
import { guardedKillPathItem, killPathItem, securitySchemes } from 'psys-kill/openapi'

const about = {
  info: { title: 'tools', version: '1', description: 'Tools', contact: { name: 'me' } },
  servers: [{ url: 'http://127.0.0.1:8080' }],
  tags: [{ name: 'tools' }, { name: 'processes' }],
}
const list = { operationId: 'list', tags: ['tools'], description: 'Their own', responses: { 200: { description: 'A list' } } }
const behindToken = { ...guardedKillPathItem.post, operationId: 'guardedKill', security: [{ token: [] }] }
const service = new OpenAPIHono()
service.openapi(createRoute({ method: 'get', path: '/list', ...list }), (c) => c.json([1]))
service.route('/', createApp({ signaller: nodeSignaller() }))
service.openAPIRegistry.registerPath({ method: 'post', path: KILL_PATH, ...killPathItem.post })
service.openAPIRegistry.registerPath({ method: 'post', path: '/guarded' + KILL_PATH, ...behindToken })
service.openAPIRegistry.registerComponent('securitySchemes', 'token', securitySchemes.token)
service.doc('/openapi-3.0.json', { openapi: '3.0.3', ...about })
service.doc31('/openapi-3.1.json', { openapi: '3.1.0', ...about })
${serving('service.fetch')}`

const OTHERS = {
  ...{ express: '5.3.0', '@types/express': '5.0.6', fastify: '5.12.8', undici: '7.30.2', zod: '4.6.7' },
  ...{ '@nestjs/core': '12.5.1', '@nestjs/common': '12.5.1', '@nestjs/platform-express': '12.5.1' },
  ...{ 'reflect-metadata': '0.2.2', rxjs: '7.8.2', '@hono/zod-openapi': '1.6.3' },
}

let tarball: PackedPackage
const createProject = (name: string, others: Record<string, string>, more: Record<string, string> = {}) =>
  tarball.createProject(name, others, { service: SERVICE, client: CLIENT, ...more })
beforeAll(async () => {
  tarball = await packPackage()
  return tarball[Symbol.dispose]
})

const LANGUAGE = '--module nodenext --target es2022 --lib es2022,dom,dom.iterable --types node --strict'
const STRICT = `${LANGUAGE} --exactOptionalPropertyTypes --allowImportingTsExtensions --resolveJsonModule`
/** Without skipLibCheck: the types of the libraries are checked too. */
const TYPED = [STRICT, 'service.ts', 'client.ts'] as const

const startHost = ({ path }: Project, file: string, ...args: string[]) =>
  startServer({ command: [process.execPath, `${file}.mjs`], args, cwd: path, env: { TOKEN } })

const post = (url: string, body: BodyInit, headers: Record<string, string> = {}) =>
  told(postRaw({ request: (path, init) => fetch(`${url}${path}`, init) }, body, headers))
const AUTHORIZATION = { authorization: `Bearer ${TOKEN}` }

const expectContract = async (url: string, headers: Record<string, string>) => {
  using target = startSleeper()
  const { pid } = target
  const kill = (body: BodyInit) => post(url, body, headers)
  expect(await kill(`{"pid":${pid},"instance":"x"}`)).toEqual(refusal(404, 'Process not found', 'other instance'))
  expect(await kill(`{"pid":"${pid}","waitMs":5000}`)).toEqual([200, '{"ok":true,"exited":true}', null])
  expect(await target.ended).toBe('SIGTERM')
  expect(await kill('{"pid":1}')).toEqual(refusal(403, 'Permission denied', 'protected'))
  expect(await kill('{"pid":')).toEqual(refusal(400, 'Invalid pid', 'body'))
  const tooLarge = `{"pid":${' '.repeat(5000)}1}`
  // In chunks: Hono before 4.12.16 accepts it.
  for (const body of [tooLarge, new Blob([tooLarge]).stream()])
    expect(await kill(body)).toEqual(refusal(413, 'Payload Too Large', 'size'))
}
const UNAUTHORIZED = refusal(401, 'Unauthorized', 'token missing')

const expectService = async (project: Project) => {
  await using service = await startHost(project, 'service')
  for (const [base, headers] of Object.entries({ '': {}, '/token': AUTHORIZATION, '/logged': {} }))
    await expectContract(service.url + base, headers)
  expect(await post(`${service.url}/token`, '{"pid":1}')).toEqual(UNAUTHORIZED)
  expect(await service.record(({ pid }) => pid === 1)).toMatchObject({ outcome: 'EPERM', reason: 'protected' })
  expect(await (await fetch(service.url)).text()).toBe('their own')
}

/** All that Spectral reports, hints too. */
const lint = async (text: string): Promise<string[]> => {
  const [file, ruleset] = [tarball.folder.file('document.json'), tarball.folder.file('spectral.json')]
  writeFileSync(file, text)
  writeFileSync(ruleset, '{"extends":["spectral:oas"]}')
  const args = ['lint', file, '--ruleset', ruleset, '--format', 'json', '--fail-severity', 'hint', '--quiet']
  const { stdout } = await runTool('spectral', ...args).catch((failed) => failed)
  return JSON.parse(stdout).map(({ code }: { code: string }) => code)
}

describe('the tarball', () => {
  test('has what users need and nothing else', () => {
    const { files, size } = tarball.packed
    const paths = new Set(files.map(({ path }) => path))
    const modules = [...paths].flatMap((path) => /^build\/dist\/lib\/([a-z/-]+)\.js$/.exec(path)?.[1] ?? [])
    const lib = modules.flatMap((name) => ['js', 'js.map', 'd.ts'].map((type) => `build/dist/lib/${name}.${type}`))
    const expected = [
      ...['LICENSE', 'README.md', 'package.json', 'build/dist/openapi.json', 'build/dist/psys-kill.cjs'],
      ...['psys-kill.service', 'psys-kill-tcp.service', 'psys-kill.socket'].map((name) => `build/${name}`),
      // Everything that the README links to.
      ...linksOf(README).filter((target) => !/^(#|https?:)/.test(target)),
      // Made from data: there is no source to map.
      ...lib.filter((path) => path !== 'build/dist/lib/openapi.js.map'),
    ]
    expect(paths).toEqual(new Set(expected))
    expect(modules).toEqual(expect.arrayContaining(['index', 'node/index', 'openapi', 'server/index']))
    expect(modules).not.toContain('standalone/main')
    expect(size).toBeLessThan(140_000)
  })

  test('is clean to publint and attw', async () => {
    expect((await runTool('publint', 'run', tarball.tarball, '--strict')).stdout).toContain('All good!')
    const options = '--profile esm-only --format ascii --no-color'.split(' ')
    const { stdout } = await runTool('attw', tarball.tarball, ...options)
    for (const entry of Object.keys(packageJson.exports)) expect(stdout).toContain(`psys-kill${entry.slice(1)}`)
  })

  test('has an OpenAPI document without a warning of the linter', async () => {
    expect(await lint(readFileSync(join(ROOT, 'build/dist/openapi.json'), 'utf8'))).toEqual([])
    expect(await lint(JSON.stringify({ ...document, tags: [] }))).toContain('operation-tag-defined')
  })
})

describe('a service that embeds it', () => {
  let project: Project
  beforeAll(async () => {
    project = await createProject('embedder', OTHERS, { entries: ENTRIES, hosts: HOSTS, documented: DOCUMENTED })
  })

  test('has one copy of Hono', async () => {
    const { stdout } = await npm(['ls', 'hono', '--all', '--parseable'], project.path)
    expect(new Set(stdout.trim().split('\n'))).toEqual(new Set([join(project.path, 'node_modules/hono')]))
  })

  test('type-checks with old and new compilers, in a bundler, and without types of Node', async () => {
    const check = async (compiler: 'typescript5' | 'typescript7', options: string, ...files: string[]) =>
      expect(await project.problems(compiler, options, ...files)).toBe('')
    await check('typescript5', ...TYPED)
    await check('typescript7', ...TYPED)
    await check('typescript7', `${STRICT} --module esnext --moduleResolution bundler`, 'client.ts')
    await check('typescript7', '--noEmit', 'entries.ts')
    await check('typescript7', `${STRICT} --skipLibCheck`, 'hosts.ts', 'documented.ts')
  })

  test('kills, wherever it is mounted', () => expectService(project))

  test('is called through the typed client', async () => {
    await using service = await startHost(project, 'service')
    using target = startSleeper()
    const args = ['client.mjs', service.url, String(target.pid)]
    const { stdout } = await exec(process.execPath, args, { cwd: project.path })
    expect(JSON.parse(stdout)).toEqual([200, 'Process not found', true, '3.1.0'])
    expect(await target.ended).toBe('SIGTERM')
  })

  test.each(['next', 'express', 'fastify', 'nest'])('can be one of %s', async (name) => {
    await using service = await startHost(project, 'hosts', name)
    await expectContract(service.url, AUTHORIZATION)
    expect(await post(service.url, '{"pid":1}')).toEqual(UNAUTHORIZED)
    // The service parses its own bodies as before.
    const own = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"a":1}' }
    if (/express|fastify/.test(name)) expect(await (await fetch(`${service.url}/own`, own)).json()).toEqual({ a: 1 })
  })

  test('documents the route beside its own, without a warning of the linter', async () => {
    await using service = await startHost(project, 'documented')
    await expectContract(service.url, {})
    for (const version of ['3.0', '3.1']) {
      const text = await (await fetch(`${service.url}/openapi-${version}.json`)).text()
      const { openapi, paths } = JSON.parse(text)
      expect(openapi).toContain(version)
      expect(new Set(Object.keys(paths))).toEqual(new Set(['/list', KILL, `/guarded${KILL}`]))
      const { requestBody } = JSON.parse(JSON.stringify(document.paths[KILL].post))
      expect(paths[KILL].post).toMatchObject({ requestBody, responses: { 400: {}, 404: {} } })
      expect(paths[KILL].post.responses).not.toHaveProperty('401')
      expect(paths[`/guarded${KILL}`].post).toMatchObject({ security: [{ token: [] }], responses: { 401: {} } })
      expect(await lint(text)).toEqual([])
    }
  })

  test('starts nothing when it imports an entry', async () => {
    const entries = Object.keys(packageJson.exports).filter((entry) => !entry.endsWith('.json'))
    const script = `
      import { deepEqual } from 'node:assert'
      const state = () => ({
        values: [Request, Response, fetch, crypto, console.log],
        listeners: process.eventNames(),
        // zod has two of its own, which several copies of it share.
        globals: Reflect.ownKeys(globalThis).map(String).filter((name) => !name.startsWith('__zod_')),
      })
      state()
      const before = state()
      for (const entry of ${JSON.stringify(entries)}) await import('psys-kill' + entry.slice(1))
      deepEqual(state(), before)`
    const node = ['--input-type=module', '--eval', script]
    const ended = await exec(process.execPath, node, { cwd: project.path, timeout: 60_000 })
    expect(ended).toEqual({ stdout: '', stderr: '' })
  })

  test('has the single file as a command', async () => {
    await using server = await startServer({ command: [join(project.path, 'node_modules/.bin/psys-kill')] })
    await expectContract(server.url, {})
  })

  test("can be the README's gateway to a peer that requires a client certificate", async (context) => {
    needsOpenssl(context)
    const ours = authority(tarball.folder, 'ours')
    const { certFile, keyFile } = ours.issue('server', LOOPBACK)
    ours.issue('me')
    const tls = ['--tls-cert', certFile, '--tls-key', keyFile, '--tls-client-ca', ours.caFile]
    await using peer = await startServer({ args: ['--port', '0', ...tls] })
    const gateway = blockWith("from 'undici'")
      .replace('/etc/psys-kill/', tarball.folder.file('ours-'))
      .replace('https://10.0.0.1:3000', peer.url)
    await project.add('gateway', `import { serve } from '@hono/node-server'\n${gateway}\n${serving('app.fetch')}`)
    expect(await project.problems('typescript7', `${STRICT} --skipLibCheck`, 'gateway.ts')).toBe('')
    await using service = await startHost(project, 'gateway')
    await expectContract(service.url, {})
    expect(await peer.record(({ outcome }) => outcome === 'sent')).toMatchObject({ by: 'me' })
  })
})

test('works with the oldest Hono that it allows, beside zod 3, and with a second copy of Hono', async () => {
  const oldest = packageJson.peerDependencies.hono.replace('^', '')
  const project = await createProject('oldest', { hono: oldest, zod: '3.25.76' })
  const inProject = (path: string) => join(project.path, 'node_modules', path)
  expect(JSON.parse(readFileSync(inProject('hono/package.json'), 'utf8')).version).toBe(oldest)
  expect(await project.problems('typescript7', ...TYPED)).toBe('')
  await expectService(project)
  // As with a linked package: the package has one copy, the validator and the service have another.
  cpSync(join(ROOT, 'node_modules/hono'), inProject('psys-kill/node_modules/hono'), { recursive: true })
  await expectService(project)
})
