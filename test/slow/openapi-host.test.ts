import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { document } from '../support/openapi.ts'
import { exec, type PackedPackage, type Project, packPackage, SERVICE_DEPENDENCIES, TOOLS } from '../support/package.ts'
import { KILL } from '../support/post.ts'
import { startSleeper } from '../support/processes.ts'
import { startServer } from '../support/server.ts'

const COMMON = `
import { serve } from '@hono/node-server'
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
const { token } = securitySchemes
`
const SERVED = `
serve({ fetch: service.fetch, hostname: '127.0.0.1', port: 0 }, ({ port }) => {
  console.log(\`"listening on http://127.0.0.1:\${port}"\`)
})
`

/** Services that document themselves, each with another library. */
const SOURCES = {
  '@hono/zod-openapi': `
import { createRoute, OpenAPIHono } from '@hono/zod-openapi'
${COMMON}
const service = new OpenAPIHono()
service.openapi(createRoute({ method: 'get', path: '/list', ...list }), (c) => c.json([1]))
service.route('/', createApp({ signaller: nodeSignaller() }))
service.openAPIRegistry.registerPath({ method: 'post', path: KILL_PATH, ...killPathItem.post })
service.openAPIRegistry.registerPath({ method: 'post', path: '/guarded' + KILL_PATH, ...behindToken })
service.openAPIRegistry.registerComponent('securitySchemes', 'token', token)
service.doc('/openapi-3.0.json', { openapi: '3.0.3', ...about })
service.doc31('/openapi-3.1.json', { openapi: '3.1.0', ...about })
${SERVED}`,
  'hono-openapi': `
import { Hono } from 'hono'
import { describeRoute, openAPIRouteHandler } from 'hono-openapi'
${COMMON}
const service = new Hono()
  .get('/list', describeRoute(list), (c) => c.json([1]))
  .route('/', createApp({ signaller: nodeSignaller() }))
const paths = { [KILL_PATH]: killPathItem, ['/guarded' + KILL_PATH]: { post: behindToken } }
const documentation = { ...about, paths, components: { securitySchemes: { token } } }
service.get('/openapi-3.0.json', openAPIRouteHandler(service, { documentation: { ...documentation, openapi: '3.0.3' } }))
service.get('/openapi-3.1.json', openAPIRouteHandler(service, { documentation }))
${SERVED}`,
}
const NEEDED = {
  '@hono/standard-validator': '0.4.0',
  '@hono/zod-openapi': '1.6.3',
  'hono-openapi': '1.3.3',
  zod: '4.6.7',
}

let tarball: PackedPackage
let project: Project
beforeAll(async () => {
  tarball = await packPackage()
  const sources = Object.entries(SOURCES).map(([name, source]) => [name.replace('@hono/', ''), source])
  project = await tarball.createProject('host', { ...SERVICE_DEPENDENCIES, ...NEEDED }, Object.fromEntries(sources))
})
afterAll(() => tarball[Symbol.dispose]())

/** All that Spectral reports, hints too. */
const lint = async (text: string) => {
  const file = tarball.folder.file('document.json')
  const ruleset = tarball.folder.file('spectral.json')
  writeFileSync(file, text)
  writeFileSync(ruleset, '{"extends":["spectral:oas"]}')
  const args = ['lint', file, '--ruleset', ruleset, '--format', 'json', '--fail-severity', 'hint', '--quiet']
  const problems = (output: string): { code: string; path: string[] }[] => JSON.parse(output)
  return exec(join(TOOLS, 'node_modules/.bin/spectral'), args).then(
    () => [],
    ({ stdout }) => problems(stdout).map(({ code, path }) => [code, path.join('.')]),
  )
}

describe.each(['zod-openapi', 'hono-openapi'])('a service with %s', (name) => {
  test.each(['typescript5', 'typescript7'] as const)('accepts the path item, by the types of %s', async (compiler) => {
    const options = { module: 'nodenext', target: 'es2022', types: ['node'], strict: true, skipLibCheck: true }
    expect(await project.problems(compiler, { ...options, exactOptionalPropertyTypes: true }, [`${name}.ts`])).toBe('')
  })

  test('kills, and documents it beside its own routes, without a warning of the linter', async () => {
    const command = [process.execPath, `${name}.mjs`]
    await using service = await startServer({ command, args: [], cwd: project.path })
    using target = startSleeper()
    expect(await service.kill({ pid: target.pid, waitMs: 5000 })).toMatchObject({ status: 200 })
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
})

test('the document of the standalone server is without a warning of the linter', async () => {
  expect(await lint(JSON.stringify(document))).toEqual([])
  const [code, path] = ['operation-tag-defined', `paths.${KILL}.post.tags.0`]
  expect(await lint(JSON.stringify({ ...document, tags: [] }))).toContainEqual([code, path])
})
