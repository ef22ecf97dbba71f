import { type Context, Hono } from 'hono'
import { hc, type InferRequestType, type InferResponseType } from 'hono/client'
import { expect, expectTypeOf, test } from 'vitest'
import { type AppType, createApp, type KillAttempt, type Outcome, type Signaller } from '../../src/index.ts'
import { createServerApp, type ServerAppType } from '../../src/server/index.ts'

// tsc checks the types. Running them shows that the typed calls are the ones that work.
const signaller: Signaller = { supports: ['waitMs'], terminate: () => ({ code: 'exited' }) }
const app = createApp({ signaller })
const host = new Hono()
  .get('/list', (c) => c.json([1]))
  .route('/', app)
  .route('/base', app)
const server = createServerApp({ signaller, log: { write: () => {} }, hosts: ['kill.example'] })
const alone = hc<AppType>('http://localhost', { fetch: app.request }).api.connections.kill
const mounted = hc<typeof host>('http://localhost', { fetch: host.request })
const served = hc<ServerAppType>('http://localhost', { fetch: server.request }).api.connections.kill

type Kill = (typeof alone)['$post']
type ServerKill = (typeof served)['$post']
type Field = 'instance' | 'waitMs' | 'dryRun' | 'command'

/** The body of each status, or its error. */
type Answers<Post extends Kill | ServerKill> = {
  [Status in Awaited<ReturnType<Post>>['status']]: InferResponseType<Post, Status> extends { error: infer Message }
    ? Message
    : InferResponseType<Post, Status>
}

test('the typed client has one method, alone and mounted, with these fields, and one body for each status', () => {
  expectTypeOf<keyof typeof alone>().toEqualTypeOf<'$post' | '$url' | '$path'>()
  expectTypeOf(mounted.api.connections.kill).toEqualTypeOf(alone)
  expectTypeOf(mounted.base.api.connections.kill.$post).toEqualTypeOf(alone.$post)
  expectTypeOf<InferRequestType<Kill>['json']>().toEqualTypeOf<{
    pid: number | string
    instance?: string | undefined
    waitMs?: number | undefined
    dryRun?: boolean | undefined
    command?: string | undefined
    comment?: string | undefined
  }>()
  expectTypeOf<Answers<Kill>>().toEqualTypeOf<{
    200: { ok: true; exited?: boolean | undefined; dryRun?: true | undefined; process?: Outcome['process'] }
    400: `Invalid ${'pid' | Field | 'comment'}` | 'Unknown field'
    403: 'Permission denied'
    404: 'Process not found'
    413: 'Payload Too Large'
    500: 'Failed to kill process'
    501: `${Field} is not supported here`
    503: 'Too many waits'
  }>()
  type Guarded = 401 | 403 | 404 | 405
  expectTypeOf<Pick<Answers<ServerKill>, Guarded>>().toEqualTypeOf<{
    401: 'Unauthorized'
    403: 'Permission denied' | `${'Host' | 'Proxy' | 'Origin'} not allowed`
    404: 'Process not found' | 'Not Found'
    405: 'Method Not Allowed'
  }>()
  expectTypeOf<Omit<Answers<ServerKill>, Guarded>>().toEqualTypeOf<Omit<Answers<Kill>, Guarded>>()
})

test('the typed client narrows in use, and calls what answers', async () => {
  for (const { $post } of [alone, mounted.api.connections.kill, mounted.base.api.connections.kill]) {
    const killed = await $post({ json: { pid: 1234, waitMs: 100 } })
    expect(killed.status === 200 && (await killed.json()).exited).toBe(true)
    const large = await $post({ json: { pid: 1234, comment: 'x'.repeat(5000) } })
    const error = large.status === 413 && ((await large.json()).error satisfies 'Payload Too Large')
    expect(error).toBe('Payload Too Large')
  }
  const foreign = await served.$post({ json: { pid: 1234 } })
  expect(foreign.status === 403 && (await foreign.json()).error).toBe('Host not allowed')
  const list = await mounted.list.$get()
  expectTypeOf(await list.json()).toEqualTypeOf<number[]>()
})

test('an app declares its context variable, and must have a signaller, whose terminate returns outcomes', () => {
  expectTypeOf<Context['var']['killAttempt']>().toEqualTypeOf<KillAttempt | undefined>()
  expectTypeOf<object>().not.toExtend<Parameters<typeof createApp>[0]>()
  expectTypeOf({ terminate: () => ({ code: 'sent' as const }) }).toExtend<Signaller>()
  expectTypeOf<{ terminate: (pid: number) => Promise<{ code: 'EPERM'; command: string }> }>().toExtend<Signaller>()
  expectTypeOf<{ supports: ['startedBefore']; terminate: () => Outcome }>().not.toExtend<Signaller>()
  expectTypeOf<{ supports: [] }>().not.toExtend<Signaller>()
  expectTypeOf<{ terminate: () => { code: 'EPERM'; reason: 'pid' } }>().not.toExtend<Signaller>()
  expectTypeOf<{ terminate: () => undefined }>().not.toExtend<Signaller>()
  expectTypeOf<Outcome['code']>().toEqualTypeOf<
    'sent' | 'exited' | 'running' | 'would send' | 'ESRCH' | 'EPERM' | 'too many waits' | `no ${Field}`
  >()
})
