import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { linksOf } from '../support/markdown.ts'
import {
  exec,
  npm,
  type PackedPackage,
  type Project,
  packPackage,
  ROOT,
  SERVICE_DEPENDENCIES,
  TOOLS,
} from '../support/package.ts'
import { startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'

const OLDEST_HONO = packageJson.peerDependencies.hono.replace('^', '')

/** A service of somebody's own, with its own auth, onError and notFound. */
const SERVICE = `
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { bearerAuth } from 'hono/bearer-auth'
import { createApp, KILL_PATH, type KillAttempt, type Signaller } from 'psys-kill'
import { nodeSignaller } from 'psys-kill/node'
import { accessLog, requireToken } from 'psys-kill/server'

const attempts: (KillAttempt | undefined)[] = []
const broken: Signaller = {
  terminate: () => {
    throw new Error('a surprise')
  },
}
const kill = createApp({ signaller: nodeSignaller() })

const service = new Hono<{ Variables: { user: string } }>()
  .use(KILL_PATH, async (c, next) => {
    await next()
    attempts.push(c.get('killAttempt'))
  })
  .use('/own/*', bearerAuth({ token: 'token-of-their-own' }))
  .use('/token/*', requireToken('correct-horse-battery-staple'))
  .use('/logged' + KILL_PATH, accessLog({ write: (line) => console.log(line) }))
  .get('/attempts', (c) => c.json(attempts))
  .get('/fail', (): Response => {
    throw new Error('a failure of their own')
  })
  .route('/', kill)
  .route('/own', kill)
  .route('/token', kill)
  .route('/logged', createApp({ signaller: nodeSignaller() }))
  .route('/broken', createApp({ signaller: broken, onError: () => {} }))
  .notFound((c) => c.text('their own 404', 404))
  .onError((error, c) => {
    // Hono's own auth answers by an exception.
    if ('getResponse' in error) return error.getResponse()
    return c.text('their own 500', 500)
  })
export type Service = typeof service

serve({ fetch: service.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
  console.log(\`"listening on http://127.0.0.1:\${port}"\`)
})
`

/** A client whose types follow from the service's, and from the package's. */
const CLIENT = `
import { hc } from 'hono/client'
import type { AppType } from 'psys-kill'
import document from 'psys-kill/openapi.json' with { type: 'json' }
import type { Service } from './service.ts'

const [url = '', pid = ''] = process.argv.slice(2)
const alone = hc<AppType>(url).api.connections.kill
const based = hc<Service>(url).logged.api.connections.kill

const response = await alone.$post({ json: { pid: Number(pid), waitMs: 5000 } })
if (response.status !== 200) throw new Error(String(response.status))
const { ok, exited } = await response.json()
const typed: [true, boolean | undefined] = [ok, exited]
const again = await based.$post({ json: { pid } })
if (again.status !== 404) throw new Error(String(again.status))
const { error } = await again.json()
const narrowed: 'Process not found' = error

// @ts-expect-error A status outside the table.
again.status === 418
// @ts-expect-error A PID is a number or a string.
await alone.$post({ json: { pid: true } }).catch(() => {})
// @ts-expect-error Only POST.
alone.$get

console.log(JSON.stringify([typed, narrowed, document.openapi]))
`

/** Each entry, without any types of Node. */
const ENTRIES = `
import { createApp, KILL_PATH } from 'psys-kill'
import { lineLog, nodeSignaller } from 'psys-kill/node'
import { killPathItem } from 'psys-kill/openapi'
import { createServerApp } from 'psys-kill/server'

const stream = { write: () => {}, on: () => {} }
export const app = createApp({ signaller: nodeSignaller({ protect: [1] }) })
export const server = createServerApp({ signaller: nodeSignaller(), log: lineLog(stream) })
export const paths = { [KILL_PATH]: killPathItem }
`
const SOURCES = { service: SERVICE, client: CLIENT, entries: ENTRIES }

let tarball: PackedPackage
const createProject = (name: string, dependencies: Readonly<Record<string, string>> = {}) =>
  tarball.createProject(name, { ...SERVICE_DEPENDENCIES, ...dependencies }, SOURCES)

beforeAll(async () => {
  tarball = await packPackage()
})
afterAll(() => tarball[Symbol.dispose]())

const COMPILERS = ['typescript5', 'typescript6', 'typescript7'] as const
const ENDS = ['typescript5', 'typescript7'] as const
const STRICT = {
  module: 'nodenext',
  target: 'es2022',
  lib: ['es2022', 'dom', 'dom.iterable'],
  types: ['node'],
  strict: true,
  exactOptionalPropertyTypes: true,
  skipLibCheck: false,
  allowImportingTsExtensions: true,
  resolveJsonModule: true,
}
const TYPED = ['service.ts', 'client.ts']

const startService = ({ path }: Project) =>
  startServer({ command: [process.execPath, 'service.mjs'], args: [], cwd: path })

const post = async (url: string, body: unknown, headers: Record<string, string> = {}) => {
  const init = {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' || body instanceof ReadableStream ? body : JSON.stringify(body),
    duplex: 'half',
  }
  const response = await fetch(`${url}/api/connections/kill`, init)
  return [response.status, await response.text()]
}
const refusal = (status: number, error: string) => [status, JSON.stringify({ error })]

/** The contract, as it shows in the service. */
const expectContract = async (url: string) => {
  for (const [base, headers] of [
    ['', {}],
    ['/own', { authorization: 'Bearer token-of-their-own' }],
    ['/token', { authorization: 'Bearer correct-horse-battery-staple' }],
    ['/logged', {}],
  ] as const) {
    using target = await startTarget()
    const kill = (body: unknown) => post(url + base, body, headers)
    expect(await kill({ pid: target.pid, startedBefore: '2000-01-01T00:00:00Z' })).toEqual(
      refusal(404, 'Process not found'),
    )
    expect(await kill({ pid: String(target.pid), waitMs: 5000 })).toEqual([200, '{"ok":true,"exited":true}'])
    expect(await target.ended).toBe('SIGTERM')
    expect(await kill({ pid: target.pid })).toEqual(refusal(404, 'Process not found'))
    expect(await kill({ pid: 1 })).toEqual(refusal(403, 'Permission denied'))
    expect(await kill('{"pid":')).toEqual(refusal(400, 'Invalid pid'))
    expect(await kill({ pid: '12abc' })).toEqual(refusal(400, 'Invalid pid'))
    expect(await kill({ pid: 2 ** 31 - 1, waitMs: -1 })).toEqual(refusal(400, 'Invalid waitMs'))
    const tooLarge = `{"pid":${' '.repeat(5000)}1}`
    expect(await kill(tooLarge)).toEqual(refusal(413, 'Payload Too Large'))
    // In chunks: Hono before 4.12.16 lets it pass.
    expect(await kill(new Blob([tooLarge]).stream())).toEqual(refusal(413, 'Payload Too Large'))
    const get = await fetch(`${url}${base}/api/connections/kill`, { headers })
    expect([get.status, get.headers.get('allow'), await get.text()]).toEqual([
      405,
      'POST',
      '{"error":"Method Not Allowed"}',
    ])
  }
  expect(await post(`${url}/own`, { pid: 1 })).toEqual([401, 'Unauthorized'])
  expect(await post(`${url}/token`, { pid: 1 })).toEqual(refusal(401, 'Unauthorized'))
  expect(await post(`${url}/broken`, { pid: 1234 })).toEqual(refusal(500, 'Failed to kill process'))
}

describe('the tarball', () => {
  test('has what users need and nothing else', () => {
    const { filename, files, size, unpackedSize } = tarball.packed
    const list = files.map((file) => `${String(file.size).padStart(8)} ${file.path}`).join('\n')
    console.log(`${filename}: ${size} bytes, ${unpackedSize} unpacked, ${files.length} files\n${list}`)
    const paths = new Set(files.map(({ path }) => path))
    const modules = [...paths].flatMap((path) => /^build\/dist\/lib\/([a-z/-]+)\.js$/.exec(path)?.[1] ?? [])
    const expected = ['LICENSE', 'README.md', 'package.json', 'build/dist/openapi.json', 'build/dist/psys-kill.cjs']
    const lib = modules.flatMap((name) => ['js', 'js.map', 'd.ts'].map((type) => `build/dist/lib/${name}.${type}`))
    // Made from data, not from a source: nothing to map.
    const unmapped = lib.filter((path) => path !== 'build/dist/lib/openapi.js.map')
    const units = ['psys-kill.service', 'psys-kill-tcp.service', 'psys-kill.socket'].map((name) => `build/${name}`)
    // All that the README leads to is there.
    const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
    const linked = linksOf(readme).filter((target) => !/^(#|https?:)/.test(target))
    expect(paths).toEqual(new Set([...expected, ...units, ...linked, ...unmapped]))
    expect(modules).toEqual(expect.arrayContaining(['index', 'node/index', 'openapi', 'server/index']))
    expect(modules).not.toContain('standalone/main')
    expect(size).toBeLessThan(140_000)
  })

  test('is clean to publint', async () => {
    const { stdout } = await exec(join(TOOLS, 'node_modules/.bin/publint'), ['run', tarball.tarball, '--strict'])
    expect(stdout).toContain('All good!')
  })

  test('is clean to attw', async () => {
    const attw = join(TOOLS, 'node_modules/.bin/attw')
    const { stdout } = await exec(attw, [tarball.tarball, '--profile', 'esm-only', '--format', 'ascii', '--no-color'])
    for (const entry of Object.keys(packageJson.exports)) expect(stdout).toContain(`psys-kill${entry.slice(1)}`)
  })

  test('has an OpenAPI document without a problem for the linter', async () => {
    const script = `
      import { createConfig, lint } from '@redocly/openapi-core'
      const config = await createConfig({ extends: ['recommended-strict'] })
      const problems = await lint({ ref: process.argv[1], config })
      console.log(JSON.stringify(problems.map(({ ruleId, message, location }) => [ruleId, message, location[0].pointer])))`
    const lint = async (file: string) => {
      const node = ['--input-type=module', '--eval', script, file]
      return JSON.parse((await exec(process.execPath, node, { cwd: TOOLS })).stdout)
    }
    const document = readFileSync(join(ROOT, 'build/dist/openapi.json'), 'utf8')
    const broken = tarball.folder.file('broken.json')
    writeFileSync(broken, document.replace('"pid": 1234', '"pid": -1'))
    expect(await lint(join(ROOT, 'build/dist/openapi.json'))).toEqual([])
    expect(await lint(broken)).not.toEqual([])
  })
})

describe('a service that embeds it', () => {
  let project: Project
  beforeAll(async () => {
    project = await createProject('embedder')
  })

  test('has one copy of Hono', async () => {
    const { stdout } = await npm(['ls', 'hono', '--all', '--parseable'], project.path)
    expect(new Set(stdout.trim().split('\n'))).toEqual(new Set([join(project.path, 'node_modules/hono')]))
  })

  describe.each(COMPILERS)('with %s', (compiler) => {
    test.each([
      ['nodenext', 'nodenext'],
      ['esnext', 'bundler'],
    ])('type-checks as module %s, resolution %s, its libraries too', async (module, moduleResolution) => {
      expect(await project.problems(compiler, { ...STRICT, module, moduleResolution }, TYPED)).toBe('')
    })

    test('type-checks without any types of Node, its libraries too', async () => {
      const { module, target, strict } = STRICT
      const options = { module, target, strict, types: [], skipLibCheck: false }
      expect(await project.problems(compiler, options, ['entries.ts'])).toBe('')
    })
  })

  test('type-checks with nothing but the defaults of TypeScript 7', async () => {
    expect(await project.problems('typescript7', {}, ['entries.ts'])).toBe('')
  })

  test('kills, wherever it is mounted', async () => {
    await using service = await startService(project)
    await expectContract(service.url)
  })

  test('keeps its own routes, auth, notFound and onError', async () => {
    await using service = await startService(project)
    const get = async (path: string) => {
      const response = await fetch(service.url + path)
      return [response.status, await response.text()]
    }
    expect(await get('/fail')).toEqual([500, 'their own 500'])
    expect(await get('/nowhere')).toEqual([404, 'their own 404'])
    expect(await get('/api/connections')).toEqual([404, 'their own 404'])
    expect(await get('/api/connections/kill/more')).toEqual([404, 'their own 404'])
    await post(service.url, { pid: 1 })
    await post(`${service.url}/logged`, { pid: 1 })
    expect(await get('/attempts')).toEqual([200, expect.stringMatching(/^\[{"pid":1,"outcome":{"code":"EPERM".*}\]$/)])
    await service.record(({ pid }) => pid === 1)
    expect(service.records).toMatchObject([{ pid: 1, outcome: 'EPERM', status: 403 }])
  })

  test('is called through the typed client', async () => {
    await using service = await startService(project)
    using target = await startTarget()
    const { stdout } = await exec(process.execPath, ['client.mjs', service.url, String(target.pid)], {
      cwd: project.path,
    })
    expect(JSON.parse(stdout)).toEqual([[true, true], 'Process not found', '3.1.0'])
    expect(await target.ended).toBe('SIGTERM')
  })

  const modules = Object.keys(packageJson.exports).filter((entry) => !entry.endsWith('.json'))
  test.each(modules)('starts nothing when it imports %s', async (entry) => {
    const script = `
      import { deepEqual } from 'node:assert'
      const state = () => ({
        values: [Request, Response, fetch, crypto, console.log],
        listeners: process.eventNames(),
        // zod keeps two of its own, so that several copies of it share them.
        globals: Reflect.ownKeys(globalThis).map(String).filter((name) => !name.startsWith('__zod_')),
      })
      state()
      const before = state()
      await import('psys-kill${entry.slice(1)}')
      deepEqual(state(), before)`
    const node = ['--input-type=module', '--eval', script]
    expect(await exec(process.execPath, node, { cwd: project.path, timeout: 10_000 })).toEqual({
      stdout: '',
      stderr: '',
    })
  })

  test('has the single file as a command', async () => {
    const command = [join(project.path, 'node_modules/.bin/psys-kill')]
    expect((await exec(command[0] ?? '', ['--version'])).stdout).toBe(`${packageJson.version}\n`)
    await using server = await startServer({ command })
    using target = await startTarget()
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
  })
})

describe('a service with other versions', () => {
  test('works with the oldest Hono that it allows, and with a second copy of Hono', async () => {
    const project = await createProject('oldest', { hono: OLDEST_HONO })
    const inProject = (path: string) => join(project.path, 'node_modules', path)
    expect(JSON.parse(readFileSync(inProject('hono/package.json'), 'utf8')).version).toBe(OLDEST_HONO)
    for (const compiler of ENDS) expect(await project.problems(compiler, STRICT, TYPED)).toBe('')
    {
      await using service = await startService(project)
      await expectContract(service.url)
    }
    // As it comes about by a linked package, say: the package has one, the validator and the service have another.
    cpSync(join(ROOT, 'node_modules/hono'), inProject('psys-kill/node_modules/hono'), { recursive: true })
    await using service = await startService(project)
    await expectContract(service.url)
  })

  test('works beside zod 3, with its types too', async () => {
    const project = await createProject('zod3', { zod: '3.25.76' })
    for (const compiler of ENDS) expect(await project.problems(compiler, STRICT, TYPED)).toBe('')
    await using service = await startService(project)
    await expectContract(service.url)
  })
})
