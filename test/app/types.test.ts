import { type Context, Hono } from 'hono'
import { type ClientResponse, hc, type InferRequestType, type InferResponseType } from 'hono/client'
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

// tsc checks the types. Running them shows that the typed calls are the ones that work.
const startClients = (outcome: Outcome) => {
  const app = createApp({ signaller: { supports: ['waitMs'], terminate: () => outcome } })
  const host = new Hono<{ Variables: { user: string } }>()
    .get('/list', (c) => c.json([1]))
    .route('/', app)
    .route('/base', app)
  const alone = hc<AppType>('http://localhost', { fetch: app.request })
  const mounted = hc<typeof host>('http://localhost', { fetch: host.request })
  return { alone, mounted }
}

type Clients = ReturnType<typeof startClients>
type Alone = Clients['alone']['api']['connections']['kill']
type Mounted = Clients['mounted']['api']['connections']['kill']
type Based = Clients['mounted']['base']['api']['connections']['kill']

/** A union of bodies, one for each message. */
type Failure<Message extends string> = Message extends string ? { readonly error: Message } : never
type Field = 'instance' | 'waitMs' | 'dryRun' | 'command'
type Statuses = 200 | 400 | 403 | 404 | 413 | 500 | 501 | 503

describe('the typed client', () => {
  test('has one method', () => {
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

  test('narrows each status to its body', () => {
    type Body<Status extends Statuses> = InferResponseType<Alone['$post'], Status>
    type Response = Awaited<ReturnType<Alone['$post']>>
    expectTypeOf<Response['status']>().toEqualTypeOf<Statuses>()
    expectTypeOf<Response>().toExtend<ClientResponse<unknown, number, 'json'>>()
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
  })

  test('narrows in use, and calls what answers', async () => {
    const { alone, mounted } = startClients({ code: 'exited' })
    for (const { api } of [alone, mounted, mounted.base]) {
      const kill = api.connections.kill.$post
      const killed = await kill({ json: { pid: 1234, waitMs: 100 } })
      expect(killed.status === 200 && (await killed.json()).exited).toBe(true)
      const gone = await kill({ json: { pid: '4294967296' } })
      expect(gone.status === 404 && (await gone.json()).error).toBe('Process not found')
      const large = await kill({ json: { pid: 1234, comment: 'x'.repeat(5000) } })
      if (large.status !== 413) return expect.unreachable()
      const { error } = await large.json()
      expectTypeOf(error).toEqualTypeOf<'Payload Too Large'>()
      expect(error).toBe('Payload Too Large')
    }
  })

  test('leaves the routes of the host as they are', async () => {
    const list = await startClients({ code: 'sent' }).mounted.list.$get()
    expectTypeOf(await list.json()).toEqualTypeOf<number[]>()
    expect(list.status).toBe(200)
  })
})

test('a signaller must have terminate, and can return only outcomes of the table', () => {
  expectTypeOf({ terminate: () => ({ code: 'sent' as const }) }).toExtend<Signaller>()
  expectTypeOf<{ terminate: (pid: number) => Promise<{ code: 'EPERM'; command: string }> }>().toExtend<Signaller>()
  expectTypeOf<{ supports: ['startedBefore']; terminate: () => Outcome }>().not.toExtend<Signaller>()
  expectTypeOf<{ supports: [] }>().not.toExtend<Signaller>()
  expectTypeOf<{ terminate: () => { code: 'EINVAL' } }>().not.toExtend<Signaller>()
  expectTypeOf<{ terminate: () => { code: 'EPERM'; reason: 'pid' } }>().not.toExtend<Signaller>()
  expectTypeOf<{ terminate: () => undefined }>().not.toExtend<Signaller>()
  expectTypeOf<{ terminate: (pid: string) => Outcome }>().not.toExtend<Signaller>()
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
