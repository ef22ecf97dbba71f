import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as parts from '../../build/openapi.ts'
import { answers, REASONS, serverAnswers } from '../../src/app/contract.ts'
import { createApp, type Outcome } from '../../src/index.ts'
import { createServerApp } from '../../src/server/index.ts'
import { assertDocumented, document, isDocumentedRequest } from '../support/openapi.ts'
import { conditionalSignaller, KILL, post, postRaw } from '../support/post.ts'
import { TOKEN } from '../support/server.ts'

const table = { ...answers, ...serverAnswers }
const asJson = (value: unknown) => JSON.parse(JSON.stringify(value))
const { requestBody, responses } = document.paths[KILL].post
const exampleOf = (name: string, status: number) =>
  responses[status]?.content['application/json'].examples[name.replaceAll(' ', '-')]

describe('the package', () => {
  test('has the document', () => {
    const built = readFileSync(new URL('../../build/dist/openapi.json', import.meta.url), 'utf8')
    expect(JSON.parse(built)).toEqual(asJson(document))
  })

  test('has the parts of the document as psys-kill/openapi, without references', async () => {
    const { openapi: _, ...expected } = parts
    const built = await import(new URL('../../build/dist/lib/openapi.js', import.meta.url).href)
    expect({ ...built }).toEqual(asJson(expected))
    expect(JSON.stringify(built)).not.toContain('$ref')
  })
})

describe('the documented responses', () => {
  test.each([
    ['an app', parts.killPathItem, answers],
    ['an app behind guards', parts.guardedKillPathItem, table],
  ])('of %s are the rows of the table', (_what, { post: { responses: documented } }, rows: object) => {
    const examples = Object.values(documented).flatMap(({ content }) =>
      Object.values(content['application/json'].examples),
    )
    const bodiesOf = (some: readonly unknown[], key: string) =>
      some.map((one) => JSON.stringify(Object(one)[key])).toSorted()
    expect(bodiesOf(examples, 'value')).toEqual(bodiesOf(Object.values(rows), 'body'))
  })

  const json = { 'content-type': 'application/json' }
  const gone = { ...json, 'psys-kill-reason': 'gone' }
  test.each([
    [200, json, '{"ok":false}'],
    [200, json, '{"ok":true,"pid":1}'],
    [200, json, '{}'],
    [200, json, '{"ok":true,"dryRun":false}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{}}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{"command":"node","startedAt":"yesterday"}}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{"command":"node","instance":""}}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{"command":"node","uid":-1}}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{"command":"node","ppid":1}}'],
    [200, { 'content-type': 'text/plain' }, '{"ok":true}'],
    [200, { ...json, 'x-request-id': '1' }, '{"ok":true}'],
    [201, json, '{"ok":true}'],
    [401, { ...json, 'psys-kill-reason': 'token missing' }, '{"error":"Unauthorized"}'],
    [404, gone, '{"error":"Permission denied"}'],
    [404, json, '{"error":"Process not found"}'],
    [404, { ...json, 'psys-kill-reason': 'a whim' }, '{"error":"Process not found"}'],
    [405, { ...json, 'psys-kill-reason': 'method', allow: 'GET' }, '{"error":"Method Not Allowed"}'],
  ])('do not include %i %o %s', (status, headers, text) => {
    assertDocumented(404, gone, '{"error":"Process not found"}')
    expect(() => assertDocumented(status, headers, text)).toThrow(/documented/)
  })

  test('have the header with the reason, if they are refusals', () => {
    for (const [status, { headers }] of Object.entries(responses)) {
      const reason = { required: true, schema: { type: 'string', enum: REASONS } }
      const isRefusal = status !== '200' && status !== '500'
      expect(headers['Psys-Kill-Reason']).toEqual(isRefusal ? expect.objectContaining(reason) : undefined)
    }
  })
})

describe('the standalone server', () => {
  const honest = { host: 'localhost', authorization: `Bearer ${TOKEN}` }
  const open = (outcome: () => Outcome, more = {}) =>
    createServerApp({ signaller: conditionalSignaller(outcome), log: { write: () => {} }, ...more })
  const guarded = (outcome: () => Outcome = () => ({ code: 'sent' })) =>
    open(outcome, { token: TOKEN, hosts: ['localhost'] })
  const send = (body: unknown, headers = {}, to = guarded()) =>
    postRaw(to, JSON.stringify(body), { ...honest, ...headers })
  const get = (path: string, headers: Record<string, string> = honest) => guarded().request(path, { headers })
  const when = (code: Outcome['code'], body = {}) =>
    send(
      { pid: 1234, ...body },
      {},
      guarded(() => ({ code })),
    )
  const surprise = () => {
    throw new Error('a surprise')
  }

  const requests = {
    sent: () => when('sent'),
    exited: () => when('exited', { waitMs: 1 }),
    running: () => when('running', { waitMs: 1 }),
    'would send': () => when('would send', { dryRun: true }),
    'bad pid': () => send({}),
    'bad instance': () => send({ pid: 1234, instance: null }),
    'bad waitMs': () => send({ pid: 1234, waitMs: null }),
    'bad dryRun': () => send({ pid: 1234, dryRun: null }),
    'bad command': () => send({ pid: 1234, command: null }),
    'bad comment': () => send({ pid: 1234, comment: 'x'.repeat(201) }),
    'unknown field': () => send({ pid: 1234, Instance: 'x' }),
    EPERM: () => when('EPERM'),
    ESRCH: () => when('ESRCH'),
    'bad method': () => get(KILL),
    'too large': () => send({ pid: '1'.repeat(5000) }),
    failed: () => send({ pid: 1234, waitMs: 1 }, {}, guarded(surprise)),
    'no instance': () => when('no instance'),
    'no waitMs': () => when('no waitMs'),
    'no dryRun': () => when('no dryRun'),
    'no command': () => when('no command'),
    'too many waits': () => when('too many waits'),
    unauthorized: () => send({ pid: 1234 }, { authorization: '' }),
    host: () => send({ pid: 1234 }, { host: 'evil.example' }),
    origin: () => send({ pid: 1234 }, { origin: 'http://evil.example' }),
    proxy: () =>
      send(
        { pid: 1234 },
        { via: '1.1 proxy' },
        open(() => ({ code: 'sent' })),
      ),
    path: () => get('/nowhere'),
  } satisfies Record<keyof typeof table, () => Response | Promise<Response>>

  test.each(Object.entries(requests))('answers %s as documented', async (name, request) => {
    const response = await request()
    const text = await response.text()
    assertDocumented(response.status, response.headers, text)
    expect(exampleOf(name, response.status)).toEqual({ summary: expect.any(String), value: JSON.parse(text) })
    expect(response.headers.has('x-request-id')).toBe(true)
  })

  test.each([
    { command: 'node', uid: 1000, instance: '0a1b2c3d4e5f6071-1-2', startedAt: '2026-11-24T08:00:00.120Z' },
    { command: '', uid: 4_294_967_294, startedAt: undefined },
    { command: '\ufffd', uid: undefined, startedAt: new Date(0).toISOString() },
  ])('answers a dry run of %j as documented', async (process) => {
    const response = await send(
      { pid: 1234, dryRun: true },
      {},
      guarded(() => ({ code: 'would send', process })),
    )
    const text = await response.text()
    expect(text).toBe(JSON.stringify({ ok: true, dryRun: true, process }))
    assertDocumented(response.status, response.headers, text)
  })

  test.each([
    [200, honest],
    [403, { host: 'evil.example' }],
    [403, { host: 'localhost', origin: 'http://evil.example' }],
  ])('answers a health check with %i as documented', async (status, headers) => {
    const response = await get('/healthz', headers)
    expect(response.status).toBe(status)
    assertDocumented(status, response.headers, await response.text(), '/healthz')
  })
})

describe('the documented request', () => {
  const app = createApp({ signaller: conditionalSignaller() })

  const space = fc.string({ unit: fc.constantFrom(...' \t\n\r\v\f\u00a0\u2003\u2028\ufeff\u200b'), maxLength: 2 })
  const digits = fc.oneof(
    fc.stringMatching(/^[0-9]{1,20}$/),
    fc.bigInt({ min: 2n ** 53n - 2000n, max: 2n ** 53n + 2000n }).map(String),
    fc.constantFrom('0', '000', '9007199254740991', '9007199254740992', '1e3', '0x10', '+5', '1.0', '-1', '', '٣'),
  )
  const pid = fc.oneof(
    fc.tuple(space, fc.constantFrom('', '0', '0000'), digits, space).map((pieces) => pieces.join('')),
    fc.integer({ min: -2, max: 2 ** 31 }),
    fc.constantFrom(0, 1, 1.5, 2 ** 53 - 1, 2 ** 53, -1),
    fc.jsonValue(),
  )
  const character = fc.constantFrom('x', '\n', '\0', 'é', '😀', '\ud800')
  const fields = {
    instance: fc.oneof(
      fc.stringMatching(/^[\w.-]{62,66}$/),
      fc.string({ unit: fc.constantFrom(...'aZ09_.- é\n'), maxLength: 4 }),
      fc.jsonValue(),
    ),
    waitMs: fc.oneof(fc.integer({ min: -2, max: 60_002 }), fc.constantFrom(0, 60_000, 60_001, 0.5), fc.jsonValue()),
    dryRun: fc.oneof(fc.boolean(), fc.jsonValue()),
    command: fc.oneof(fc.string(), fc.jsonValue()),
    comment: fc.oneof(
      fc.string({ unit: character, minLength: 197, maxLength: 203 }),
      fc.string({ unit: character, maxLength: 5 }),
      fc.jsonValue(),
    ),
  }
  /** The body of a good PID with one of the fields, or of anything with any of them. */
  const body = fc.oneof(
    { weight: 6, arbitrary: fc.record({ pid }) },
    ...Object.entries(fields).map(([name, value]) => ({
      weight: 2,
      arbitrary: fc.record({ pid: fc.constant(1234), [name]: value }),
    })),
    { weight: 2, arbitrary: fc.record({ pid, ...fields, more: fc.jsonValue() }, { requiredKeys: [] }) },
    { weight: 1, arbitrary: fc.jsonValue() },
  )

  test('is exactly what the app accepts', async () => {
    let accepted = 0
    const property = fc.asyncProperty(body, async (value) => {
      const { status } = await post(app, value)
      if (status !== 400) accepted += 1
      expect(isDocumentedRequest(asJson(value))).toBe(status !== 400)
    })
    await fc.assert(property, { numRuns: 1500 })
    expect(accepted).toBeGreaterThan(150)
  })

  test.each(Object.entries(requestBody.content['application/json'].examples))(
    'has the example %s, which works',
    async (_name, { value }) => {
      expect(isDocumentedRequest(value)).toBe(true)
      expect((await post(app, value)).status).toBe(200)
    },
  )
})
