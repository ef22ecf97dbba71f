import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import * as parts from '../../build/openapi.ts'
import { answers, serverAnswers } from '../../src/app/answers.ts'
import { createApp, type Outcome } from '../../src/index.ts'
import { createServerApp } from '../../src/server/index.ts'
import { assertDocumented, document, isDocumentedRequest } from '../support/openapi.ts'
import { KILL, post, postRaw } from '../support/post.ts'
import { conditionalSignaller } from '../support/recording-signaller.ts'

const json = { 'content-type': 'application/json' }
const table = { ...answers, ...serverAnswers }

test('is built into the package', () => {
  const built = readFileSync(new URL('../../build/dist/openapi.json', import.meta.url), 'utf8')
  expect(JSON.parse(built)).toEqual(JSON.parse(JSON.stringify(document)))
})

describe('psys-kill/openapi', () => {
  test('is built from the parts of the document', async () => {
    const { openapi: _, ...expected } = parts
    const built = await import(new URL('../../build/dist/lib/openapi.js', import.meta.url).href)
    expect({ ...built }).toEqual(JSON.parse(JSON.stringify(expected)))
  })

  const documentedIn = ({ post }: typeof parts.killPathItem) =>
    Object.values(post.responses).flatMap(({ content }) =>
      Object.values(content['application/json'].examples).map((example) => JSON.stringify(Object(example).value)),
    )
  const bodiesOf = (rows: object) => Object.values(rows).map(({ body }) => JSON.stringify(body))

  test('has of an app alone what the app answers', () => {
    expect(documentedIn(parts.killPathItem).toSorted()).toEqual(bodiesOf(answers).toSorted())
  })

  test('has of an app behind guards what these answer too', () => {
    expect(documentedIn(parts.guardedKillPathItem).toSorted()).toEqual(bodiesOf(table).toSorted())
  })

  test('refers to nothing outside, for any document to take it', () => {
    expect(JSON.stringify(parts)).not.toContain('$ref')
  })
})

describe('the documented responses', () => {
  test.each(Object.entries(table))('have %s, with an example', (name, { status, body }) => {
    const headers = { ...json, 'www-authenticate': 'Bearer', allow: 'POST', 'retry-after': '1' }
    assertDocumented(status, headers, JSON.stringify(body))
    const { examples } = document.paths[KILL].post.responses[status]?.content['application/json'] ?? {}
    expect(examples?.[name.replaceAll(' ', '-')]).toEqual({ summary: expect.any(String), value: body })
  })

  test('have nothing else', () => {
    const documented = Object.entries(document.paths[KILL].post.responses).flatMap(([status, { content }]) =>
      Object.entries(content['application/json'].schema.properties).flatMap(([name, values]) =>
        name === 'process' ? [] : [values.enum].flat().map((value) => `${status} ${value}`),
      ),
    )
    const given = Object.values(table).flatMap(({ status, body }) =>
      Object.values<unknown>(body).map((value) => `${status} ${value}`),
    )
    expect(new Set(documented)).toEqual(new Set(given))
  })

  test.each([
    [200, json, '{"ok":false}'],
    [200, json, '{"ok":true,"pid":1}'],
    [200, json, '{}'],
    [200, json, '{"ok":true,"dryRun":false}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{}}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{"command":"node","startedAt":"yesterday"}}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{"command":"node","uid":-1}}'],
    [200, json, '{"ok":true,"dryRun":true,"process":{"command":"node","ppid":1}}'],
    [200, { 'content-type': 'text/plain' }, '{"ok":true}'],
    [200, { ...json, 'x-request-id': '1' }, '{"ok":true}'],
    [201, json, '{"ok":true}'],
    [401, json, '{"error":"Unauthorized"}'],
    [404, json, '{"error":"Permission denied"}'],
    [405, { ...json, allow: 'GET' }, '{"error":"Method Not Allowed"}'],
  ])('do not have %i %o %s', (status, headers, text) => {
    expect(() => assertDocumented(status, headers, text)).toThrow(/documented/)
  })
})

describe('the standalone server', () => {
  const TOKEN = 'correct-horse-battery-staple'
  const honest = { host: 'localhost', authorization: `Bearer ${TOKEN}` }
  const serverThat = (outcome: () => Outcome) =>
    createServerApp({
      signaller: conditionalSignaller(outcome),
      log: { write: () => {} },
      token: TOKEN,
      hosts: ['localhost'],
    })
  const openServer = createServerApp({
    signaller: conditionalSignaller(() => ({ code: 'sent' })),
    log: { write: () => {} },
  })
  const send = (value: unknown, headers: Record<string, string> = {}) =>
    postRaw(
      serverThat(() => ({ code: 'sent' })),
      JSON.stringify(value),
      { ...honest, ...headers },
    )
  const get = (path: string, headers: Record<string, string> = honest) =>
    serverThat(() => ({ code: 'sent' })).request(path, { headers })
  const told = (code: Outcome['code']) => () =>
    postRaw(
      serverThat(() => ({ code })),
      '{"pid":1234,"waitMs":1}',
      honest,
    )

  const requests = {
    sent: () => send({ pid: 1234 }),
    exited: told('exited'),
    running: told('running'),
    'would send': () =>
      postRaw(
        serverThat(() => ({ code: 'would send' })),
        '{"pid":1234,"dryRun":true}',
        honest,
      ),
    'bad pid': () => send({}),
    'bad startedBefore': () => send({ pid: 1234, startedBefore: null }),
    'bad waitMs': () => send({ pid: 1234, waitMs: null }),
    'bad dryRun': () => send({ pid: 1234, dryRun: null }),
    'bad command': () => send({ pid: 1234, command: null }),
    'bad comment': () => send({ pid: 1234, comment: 'x'.repeat(201) }),
    EPERM: told('EPERM'),
    ESRCH: told('ESRCH'),
    'bad method': () => get(KILL),
    'too large': () => send({ pid: '1'.repeat(5000) }),
    failed: () =>
      postRaw(
        serverThat(() => {
          throw new Error('a surprise')
        }),
        '{"pid":1234,"waitMs":1}',
        honest,
      ),
    'no startedBefore': told('no startedBefore'),
    'no waitMs': told('no waitMs'),
    'no dryRun': told('no dryRun'),
    'no command': told('no command'),
    'unknown field': () => send({ pid: 1234, startedbefore: '2026-11-24T08:00:00Z' }),
    'too many waits': told('too many waits'),
    unauthorized: () => send({ pid: 1234 }, { authorization: '' }),
    host: () => send({ pid: 1234 }, { host: 'evil.example' }),
    origin: () => send({ pid: 1234 }, { origin: 'http://evil.example' }),
    proxy: () => postRaw(openServer, '{"pid":1234}', { host: 'localhost', via: '1.1 proxy' }),
    path: () => get('/nowhere'),
  } satisfies Record<keyof typeof table, () => Response | Promise<Response>>

  test.each(Object.entries(requests))('answers %s as documented', async (name, request) => {
    const response = await request()
    const text = await response.text()
    assertDocumented(response.status, response.headers, text)
    const { examples } = document.paths[KILL].post.responses[response.status]?.content['application/json'] ?? {}
    expect(JSON.parse(text)).toEqual(examples?.[name.replaceAll(' ', '-')]?.value)
    expect(response.headers.has('x-request-id')).toBe(true)
  })

  test('answers a dry run that tells of the process as documented', async () => {
    for (const process of [
      { command: 'node', uid: 1000, startedAt: '2026-11-24T08:00:00.120Z' },
      { command: '', uid: 4_294_967_294, startedAt: undefined },
      { command: '\ufffd', uid: undefined, startedAt: new Date().toISOString() },
    ]) {
      const server = serverThat(() => ({ code: 'would send', process }))
      const response = await postRaw(server, '{"pid":1234,"dryRun":true}', honest)
      const text = await response.text()
      expect(text).toBe(JSON.stringify({ ok: true, dryRun: true, process }))
      assertDocumented(response.status, response.headers, text)
    }
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
    fc.tuple(space, fc.constantFrom('', '0', '0000'), digits, space).map((parts) => parts.join('')),
    fc.integer({ min: -2, max: 2 ** 31 }),
    fc.constantFrom(0, 1, 1.5, 2 ** 53 - 1, 2 ** 53, -1),
    fc.jsonValue(),
  )
  const two = (max: number) => fc.integer({ min: 0, max }).map((number) => String(number).padStart(2, '0'))
  const time = fc.oneof(
    fc
      .tuple(
        fc.constantFrom('2024', '2026', '1900', '2000', '0000', '+012026', '26'),
        fc.constantFrom('-'),
        two(13),
        fc.constantFrom('-'),
        two(32),
        fc.constantFrom('T', 'T', 'T', ' ', 't', ''),
        two(25),
        fc.constantFrom(':'),
        two(61),
        fc.constantFrom(':00', ':59', ':60', ':00.5', ':00.123456789', '', ':00.'),
        fc.constantFrom('Z', 'z', '+01:00', '-23:59', '+24:00', '+0100', '', '+01'),
      )
      .map((parts) => parts.join('')),
    fc.jsonValue(),
  )
  const waitMs = fc.oneof(fc.integer({ min: -2, max: 60_002 }), fc.constantFrom(0, 60_000, 60_001, 0.5), fc.jsonValue())
  const dryRun = fc.oneof(fc.boolean(), fc.jsonValue())
  const command = fc.oneof(fc.string(), fc.jsonValue())
  const character = fc.constantFrom('x', '\n', '\0', 'é', '😀', '\ud800')
  const comment = fc.oneof(
    fc.string({ unit: character, minLength: 197, maxLength: 203 }),
    fc.string({ unit: character, maxLength: 5 }),
    fc.jsonValue(),
  )
  const body = fc.oneof(
    {
      weight: 2,
      arbitrary: fc.record({ pid: fc.constant(1234), dryRun, command, comment }, { requiredKeys: ['pid'] }),
    },
    { weight: 8, arbitrary: fc.record({ pid }) },
    { weight: 4, arbitrary: fc.record({ pid: fc.constant(1234), startedBefore: time }) },
    { weight: 2, arbitrary: fc.record({ pid: fc.constant(1234), waitMs }) },
    {
      weight: 2,
      arbitrary: fc.record(
        { pid, startedBefore: time, waitMs, dryRun, command, comment, more: fc.jsonValue() },
        { requiredKeys: [] },
      ),
    },
    { weight: 1, arbitrary: fc.jsonValue() },
  )

  test('is what the app accepts, and nothing else', async () => {
    let accepted = 0
    const property = fc.asyncProperty(body, async (value) => {
      const { status } = await post(app, value)
      if (status !== 400) accepted += 1
      expect(isDocumentedRequest(JSON.parse(JSON.stringify(value)))).toBe(status !== 400)
    })
    await fc.assert(property, { numRuns: 1500 })
    expect(accepted).toBeGreaterThan(150)
  })

  test.each(Object.entries(document.paths[KILL].post.requestBody.content['application/json'].examples))(
    'has an example that works: %s',
    async (_name, { value }) => {
      expect(isDocumentedRequest(value)).toBe(true)
      expect((await post(app, value)).status).toBe(200)
    },
  )
})
