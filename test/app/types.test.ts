import { type Context, Hono } from 'hono'
import { type ClientResponse, hc, type InferRequestType, type InferResponseType } from 'hono/client'
import { describe, expect, expectTypeOf, test } from 'vitest'
import {
  type AppOptions,
  type AppType,
  createApp,
  type Delivery,
  type KillAttempt,
  type Outcome,
  type ProcessSeen,
  type Signaller,
} from '../../src/index.ts'
import { conditionalSignaller, recordingSignaller } from '../support/recording-signaller.ts'

// tsc checks the types; running them shows that the typed calls are the ones that work.
const startClients = (signaller: Signaller = recordingSignaller()) => {
  const app = createApp({ signaller })
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

interface Failure<Message extends string> {
  readonly error: Message
}
type Malformed =
  | Failure<'Invalid pid'>
  | Failure<'Invalid startedBefore'>
  | Failure<'Invalid waitMs'>
  | Failure<'Invalid dryRun'>
  | Failure<'Invalid command'>
  | Failure<'Invalid comment'>
  | Failure<'Unknown field'>
type Unsupported =
  | Failure<'startedBefore is not supported here'>
  | Failure<'waitMs is not supported here'>
  | Failure<'dryRun is not supported here'>
  | Failure<'command is not supported here'>
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
      startedBefore?: string | undefined
      waitMs?: number | undefined
      dryRun?: boolean | undefined
      command?: string | undefined
      comment?: string | undefined
    }>()
    expectTypeOf<{ pid: boolean }>().not.toExtend<Input>()
    expectTypeOf<{ pid: null }>().not.toExtend<Input>()
    expectTypeOf<{ waitMs: number }>().not.toExtend<Input>()
    expectTypeOf<{ pid: number; waitMs: string }>().not.toExtend<Input>()
    expectTypeOf<{ pid: number; startedBefore: Date }>().not.toExtend<Input>()
    // @ts-expect-error A misspelt field does not compile.
    const misspelt: Input = { pid: 1234, startedbefore: '2026-11-24T08:00:00Z' }
    expect(misspelt).toHaveProperty('startedbefore')
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
    expectTypeOf<Body<400>>().toEqualTypeOf<Malformed>()
    expectTypeOf<Body<403>>().toEqualTypeOf<Failure<'Permission denied'>>()
    expectTypeOf<Body<404>>().toEqualTypeOf<Failure<'Process not found'>>()
    expectTypeOf<Body<413>>().toEqualTypeOf<Failure<'Payload Too Large'>>()
    expectTypeOf<Body<500>>().toEqualTypeOf<Failure<'Failed to kill process'>>()
    expectTypeOf<Body<501>>().toEqualTypeOf<Unsupported>()
    expectTypeOf<Body<503>>().toEqualTypeOf<Failure<'Too many waits'>>()
  })

  test('narrows in use, and what it calls is what answers', async () => {
    const { alone, mounted } = startClients(conditionalSignaller(() => ({ code: 'exited' })))
    const calls = [alone.api.connections.kill, mounted.api.connections.kill, mounted.base.api.connections.kill]
    for (const kill of calls) {
      const killed = await kill.$post({ json: { pid: 1234, startedBefore: '2026-11-24T08:00:00Z', waitMs: 100 } })
      if (killed.status !== 200) throw new Error(`Answered ${killed.status}`)
      const { ok, exited } = await killed.json()
      expectTypeOf(ok).toEqualTypeOf<true>()
      expectTypeOf(exited).toEqualTypeOf<boolean | undefined>()
      expect({ ok, exited }).toEqual({ ok: true, exited: true })

      const gone = await kill.$post({ json: { pid: '4294967296' } })
      if (gone.status !== 404) throw new Error(`Answered ${gone.status}`)
      const { error } = await gone.json()
      expectTypeOf(error).toEqualTypeOf<'Process not found'>()
      expect(error).toBe('Process not found')
    }
  })

  test('leaves the routes of the host as they are', async () => {
    const list = await startClients().mounted.list.$get()
    expectTypeOf(await list.json()).toEqualTypeOf<number[]>()
    expect(list.status).toBe(200)
  })
})

const DELIVERY: Delivery = { stopWaiting: [], onSignal: () => {} }

describe('a signaller', () => {
  test('is one line', async () => {
    const dryRun: Signaller = { terminate: () => ({ code: 'sent' }) }
    const later: Signaller = { terminate: async (pid) => ({ code: pid === 1 ? 'EPERM' : 'ESRCH', command: 'x' }) }
    expect(await dryRun.terminate(1234, DELIVERY)).toEqual({ code: 'sent' })
    expect(await later.terminate(1, DELIVERY)).toEqual({ code: 'EPERM', command: 'x' })
  })

  test('must have terminate, may say which conditions it honours, and no others', () => {
    expectTypeOf<{ supports: [] }>().not.toExtend<Signaller>()
    expectTypeOf<{ supports: ['startedAfter']; terminate: () => Outcome }>().not.toExtend<Signaller>()
    expectTypeOf(recordingSignaller()).toExtend<Signaller>()
    expectTypeOf(conditionalSignaller()).toExtend<Required<Signaller>>()
  })

  test('tells nothing but the outcomes of the table', () => {
    expectTypeOf<{ terminate: () => { code: 'EINVAL' } }>().not.toExtend<Signaller>()
    expectTypeOf<{ terminate: () => undefined }>().not.toExtend<Signaller>()
    expectTypeOf<{ terminate: (pid: string) => Outcome }>().not.toExtend<Signaller>()
    expectTypeOf<Outcome['code']>().toEqualTypeOf<
      | 'sent'
      | 'exited'
      | 'running'
      | 'would send'
      | 'ESRCH'
      | 'EPERM'
      | 'too many waits'
      | 'no startedBefore'
      | 'no waitMs'
      | 'no dryRun'
      | 'no command'
    >()
  })
})

describe('the options', () => {
  test('ask for a signaller alone', () => {
    expectTypeOf(createApp).toBeCallableWith({ signaller: recordingSignaller() })
    expectTypeOf<object>().not.toExtend<AppOptions>()
    expectTypeOf<Parameters<NonNullable<AppOptions['onError']>>[0]>().toBeUnknown()
    expectTypeOf<Context['var']['killAttempt']>().toEqualTypeOf<KillAttempt | undefined>()
  })
})
