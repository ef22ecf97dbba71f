import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as parts from '../../build/openapi.ts'
import { answers, REASONS, serverAnswers } from '../../src/app/contract.ts'
import { createApp, type Outcome } from '../../src/index.ts'
import { createServerApp } from '../../src/server/index.ts'
import { anyRequest } from '../support/model.ts'
import { assertDocumented, document, isDocumentedRequest } from '../support/openapi.ts'
import { conditionalSignaller, KILL, post, postRaw } from '../support/post.ts'
import { TOKEN } from '../support/server.ts'

const table = { ...answers, ...serverAnswers }
const asJson = (value: unknown) => JSON.parse(JSON.stringify(value))
const { requestBody, responses } = document.paths[KILL].post

test('the package has the document, and its parts as psys-kill/openapi, without references', async () => {
  const built = readFileSync(new URL('../../build/dist/openapi.json', import.meta.url), 'utf8')
  expect(JSON.parse(built)).toEqual(asJson(document))
  const { openapi: _, ...expected } = parts
  const exported = await import(new URL('../../build/dist/lib/openapi.js', import.meta.url).href)
  expect({ ...exported }).toEqual(asJson(expected))
  expect(JSON.stringify(exported)).not.toContain('$ref')
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
  const GUARDED = { token: TOKEN, hosts: ['localhost'] }
  const sent = (): Outcome => ({ code: 'sent' })
  const serverFor = (outcome: () => Outcome, guards: object = GUARDED) =>
    createServerApp({ signaller: conditionalSignaller(outcome), log: { write: () => {} }, ...guards })
  const get = (path: string, headers: Record<string, string> = honest) => serverFor(sent).request(path, { headers })
  const kill = (fields: object, headers = {}, outcome = sent, guards?: object) =>
    postRaw(serverFor(outcome, guards), JSON.stringify({ pid: 1234, ...fields }), { ...honest, ...headers })

  const CODES = [
    ...(['sent', 'exited', 'running', 'would send', 'EPERM', 'ESRCH', 'too many waits'] as const),
    ...(['no instance', 'no waitMs', 'no dryRun', 'no command'] as const),
  ]
  const others: Record<Exclude<keyof typeof table, (typeof CODES)[number]>, () => Response | Promise<Response>> = {
    'bad pid': () => kill({ pid: null }),
    'bad instance': () => kill({ instance: null }),
    'bad waitMs': () => kill({ waitMs: null }),
    'bad dryRun': () => kill({ dryRun: null }),
    'bad command': () => kill({ command: null }),
    'bad comment': () => kill({ comment: 'x'.repeat(201) }),
    'unknown field': () => kill({ Instance: 'x' }),
    'bad method': () => get(KILL),
    'too large': () => kill({ pid: '1'.repeat(5000) }),
    failed: () => kill({}, {}, () => expect.unreachable()),
    unauthorized: () => kill({}, { authorization: '' }),
    host: () => kill({}, { host: 'evil.example' }),
    origin: () => kill({}, { origin: 'http://evil.example' }),
    proxy: () => kill({}, { via: '1.1 proxy' }, sent, {}),
    path: () => get('/nowhere'),
  }
  const outcomes = CODES.map((code) => [code, () => kill({}, {}, () => ({ code }))] as const)

  /** The body of an answer, which must be as documented. */
  const bodyOf = async (answer: Response, path = KILL) => {
    const text = await answer.text()
    assertDocumented(answer.status, answer.headers, text, path)
    return JSON.parse(text)
  }

  test.each([...outcomes, ...Object.entries(others)])('answers %s as documented', async (name, request) => {
    const answer = await request()
    const value = await bodyOf(answer)
    const example = responses[answer.status]?.content['application/json'].examples[name.replaceAll(' ', '-')]
    expect(example).toEqual({ summary: expect.any(String), value })
    expect(answer.headers.has('x-request-id')).toBe(true)
  })

  test.each([
    { command: 'node', uid: 1000, instance: '0a1b2c3d4e5f6071-1-2', startedAt: '2026-11-24T08:00:00.120Z' },
    { command: '', uid: 4_294_967_294 },
    { command: '\ufffd', startedAt: new Date(0).toISOString() },
  ])('answers a dry run of %j as documented', async (process) => {
    const answer = await kill({ dryRun: true }, {}, () => ({ code: 'would send', process }))
    expect(await bodyOf(answer)).toEqual({ ok: true, dryRun: true, process })
  })

  test.each([
    [200, honest],
    [403, { host: 'evil.example' }],
    [403, { host: 'localhost', origin: 'http://evil.example' }],
  ])('answers a health check with %i as documented', async (status, headers) => {
    const answer = await get('/healthz', headers)
    expect(answer.status).toBe(status)
    await bodyOf(answer, '/healthz')
  })
})

describe('the documented request', () => {
  const app = createApp({ signaller: conditionalSignaller() })

  test('is exactly what the app accepts', () => {
    const largest = String(Number.MAX_SAFE_INTEGER)
    const nearLargest = fc
      .tuple(fc.nat(largest.length), fc.stringMatching(/^[0-9]{1,17}$/))
      .map(([kept, digits]) => JSON.stringify({ pid: largest.slice(0, kept) + digits }))
    const anyBody = fc.oneof(nearLargest, { weight: 4, arbitrary: anyRequest.map(({ body }) => body) })
    const property = fc.asyncProperty(anyBody, async (body) => {
      const value = await new Response(body).json().catch(() => undefined)
      fc.pre(value !== undefined && body.length <= 4096)
      const { status } = await postRaw(app, body)
      expect(isDocumentedRequest(value)).toBe(status !== 400)
    })
    return fc.assert(property, { numRuns: 1500 })
  })

  const examples = Object.values(requestBody.content['application/json'].examples).map(({ value }) => value)
  test.each([
    ...examples,
    { pid: ' \t\n\r\v\f\u00a0\u2003\u2028\ufeff1' },
    { pid: 1, instance: 'aZ09_.-', waitMs: 60_000 },
  ])('includes %j, which works', async (value) => {
    expect(isDocumentedRequest(value)).toBe(true)
    expect((await post(app, value)).status).toBe(200)
  })
})
