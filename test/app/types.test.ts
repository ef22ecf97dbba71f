import { type Context, Hono } from 'hono'
import { hc, type InferRequestType, type InferResponseType } from 'hono/client'
import { describe, expect, expectTypeOf, test } from 'vitest'
import {
  type AppOptions,
  type AppType,
  createApp,
  type KillAttempt,
  type Outcome,
  type ProcessSeen,
  type Reason,
  type Signaller,
  type SignallerReason,
} from '../../src/index.ts'
import { createServerApp, type ServerAppType } from '../../src/server/index.ts'

// tsc checks the types. Running them shows that the typed calls are the ones that work.
const signaller: Signaller = { supports: ['waitMs'], terminate: () => ({ code: 'exited' }) }
const app = createApp({ signaller })
const host = new Hono()
  .get('/list', (c) => c.json([1]))
  .route('/', app)
  .route('/base', app)
const server = createServerApp({ signaller, log: { write: () => {} }, hosts: ['kill.example'] })
const alone = hc<AppType>('http://localhost', { fetch: app.request })
const mounted = hc<typeof host>('http://localhost', { fetch: host.request })
const served = hc<ServerAppType>('http://localhost', { fetch: server.request })

type Alone = (typeof alone)['api']['connections']['kill']
type Mounted = (typeof mounted)['api']['connections']['kill']
type Based = (typeof mounted)['base']['api']['connections']['kill']
type Served = (typeof served)['api']['connections']['kill']

/** A union of bodies, one for each message. */
type Failure<Message extends string> = Message extends string ? { readonly error: Message } : never
type Field = 'instance' | 'waitMs' | 'dryRun' | 'command'
type Statuses = 200 | 400 | 403 | 404 | 413 | 500 | 501 | 503

describe('the typed client', () => {
  test('has one method, alone and mounted', () => {
    expectTypeOf<keyof Alone>().toEqualTypeOf<'$post' | '$url' | '$path'>()
    expectTypeOf<Mounted>().toEqualTypeOf<Alone>()
    expectTypeOf<Based['$post']>().toEqualTypeOf<Alone['$post']>()
  })

  test('takes the fields', () => {
    type Input = InferRequestType<Alone['$post']>['json']
    expectTypeOf<Input>().toEqualTypeOf<{
      pid: number | string
      instance?: string | undefined
      waitMs?: number | undefined
      dryRun?: boolean | undefined
      command?: string | undefined
      comment?: string | undefined
    }>()
    // @ts-expect-error A misspelt field does not compile.
    const misspelt: Input = { pid: 1234, startedBefore: '2026-11-24T08:00:00Z' }
    expect(misspelt).toHaveProperty('startedBefore')
  })

  test('narrows each status to its body, and a server has more of them', () => {
    type Body<Status extends Statuses> = InferResponseType<Alone['$post'], Status>
    expectTypeOf<Awaited<ReturnType<Alone['$post']>>['status']>().toEqualTypeOf<Statuses>()
    expectTypeOf<Body<200>['ok']>().toEqualTypeOf<true>()
    expectTypeOf<Body<200>['exited']>().toEqualTypeOf<boolean | undefined>()
    expectTypeOf<Body<200>['dryRun']>().toEqualTypeOf<true | undefined>()
    expectTypeOf<Body<200>['process']>().toEqualTypeOf<ProcessSeen | undefined>()
    expectTypeOf<Body<400>>().toEqualTypeOf<Failure<`Invalid ${'pid' | Field | 'comment'}` | 'Unknown field'>>()
    expectTypeOf<Body<403>>().toEqualTypeOf<Failure<'Permission denied'>>()
    expectTypeOf<Body<404>>().toEqualTypeOf<Failure<'Process not found'>>()
    expectTypeOf<Body<413>>().toEqualTypeOf<Failure<'Payload Too Large'>>()
    expectTypeOf<Body<500>>().toEqualTypeOf<Failure<'Failed to kill process'>>()
    expectTypeOf<Body<501>>().toEqualTypeOf<Failure<`${Field} is not supported here`>>()
    expectTypeOf<Body<503>>().toEqualTypeOf<Failure<'Too many waits'>>()
    type OfServer<Status extends Statuses | 401 | 405> = InferResponseType<Served['$post'], Status>
    expectTypeOf<OfServer<401>>().toEqualTypeOf<Failure<'Unauthorized'>>()
    type Guard = 'Host' | 'Proxy' | 'Origin'
    expectTypeOf<OfServer<403>['error']>().toEqualTypeOf<'Permission denied' | `${Guard} not allowed`>()
    expectTypeOf<OfServer<404>['error']>().toEqualTypeOf<'Process not found' | 'Not Found'>()
    expectTypeOf<OfServer<405>>().toEqualTypeOf<Failure<'Method Not Allowed'>>()
    expectTypeOf<OfServer<200>>().toEqualTypeOf<Body<200>>()
    expectTypeOf<OfServer<400>>().toEqualTypeOf<Body<400>>()
    type Others = 413 | 500 | 501 | 503
    expectTypeOf<OfServer<Others>>().toEqualTypeOf<Body<Others>>()
  })

  test('narrows in use, and calls what answers', async () => {
    for (const { api } of [alone, mounted, mounted.base]) {
      const kill = api.connections.kill.$post
      const killed = await kill({ json: { pid: 1234, waitMs: 100 } })
      expect(killed.status === 200 && (await killed.json()).exited).toBe(true)
      const large = await kill({ json: { pid: 1234, comment: 'x'.repeat(5000) } })
      if (large.status !== 413) return expect.unreachable()
      const { error } = await large.json()
      expectTypeOf(error).toEqualTypeOf<'Payload Too Large'>()
      expect(error).toBe('Payload Too Large')
    }
    const foreign = await served.api.connections.kill.$post({ json: { pid: 1234 } })
    expect(foreign.status === 403 && (await foreign.json()).error).toBe('Host not allowed')
    const list = await mounted.list.$get()
    expectTypeOf(await list.json()).toEqualTypeOf<number[]>()
  })
})

test('a signaller must have terminate, and can return only outcomes of the table', () => {
  expectTypeOf({ terminate: () => ({ code: 'sent' as const }) }).toExtend<Signaller>()
  expectTypeOf<{ terminate: (pid: number) => Promise<{ code: 'EPERM'; command: string }> }>().toExtend<Signaller>()
  expectTypeOf<{ supports: ['startedBefore']; terminate: () => Outcome }>().not.toExtend<Signaller>()
  expectTypeOf<{ supports: [] }>().not.toExtend<Signaller>()
  expectTypeOf<{ terminate: () => { code: 'EPERM'; reason: 'pid' } }>().not.toExtend<Signaller>()
  expectTypeOf<{ terminate: () => undefined }>().not.toExtend<Signaller>()
  expectTypeOf<Outcome['code']>().toEqualTypeOf<
    'sent' | 'exited' | 'running' | 'would send' | 'ESRCH' | 'EPERM' | 'too many waits' | `no ${Field}`
  >()
  expectTypeOf<SignallerReason>().toExtend<Reason>()
})

test('createApp needs a signaller alone', () => {
  expectTypeOf<Pick<AppOptions, 'signaller'>>().toExtend<AppOptions>()
  expectTypeOf<object>().not.toExtend<AppOptions>()
  expectTypeOf<Context['var']['killAttempt']>().toEqualTypeOf<KillAttempt | undefined>()
})
