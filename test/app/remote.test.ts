import type { RequestListener } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { answers, serverAnswers } from '../../src/app/answers.ts'
import { createApp } from '../../src/app/app.ts'
import { remoteSignaller } from '../../src/app/remote.ts'
import type { Delivery } from '../../src/app/signaller.ts'
import { needsLinux } from '../support/needs.ts'
import { startPeer } from '../support/peer.ts'
import { startServer } from '../support/server.ts'
import { reapedPid, startTarget } from '../support/target.ts'

const TOKEN = 'correct-horse-battery-staple'
const PID = 2 ** 31 - 1
const { signal: never } = new AbortController()
const DELIVERY: Delivery = { stopWaiting: [], onSignal: () => {} }

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllGlobals()
  vi.resetModules()
})

/** An app in front of a peer, and what its log would get. */
const gateway = (options: Parameters<typeof remoteSignaller>[0]) => {
  const causes: unknown[] = []
  const app = createApp({ signaller: remoteSignaller(options), onError: (cause) => causes.push(cause) })
  const kill = async (body: unknown) => {
    const response = await app.request('/api/connections/kill', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return { status: response.status, text: await response.text() }
  }
  return { causes, kill }
}

/** A `fetch` to a peer that always answers the same. */
const answering = (status: number, text: string) =>
  vi.fn(async (_url: string, _init: RequestInit) => new Response(text, { status }))

const row = ({ status, body }: { status: number; body: unknown }) => ({ status, text: JSON.stringify(body) })
const FAILED = row(answers.failed)

describe('a real peer', () => {
  test('does what the gateway is asked to do', async (context) => {
    needsLinux(context)
    await using peer = await startServer({ env: { PSYS_KILL_TOKEN: TOKEN } })
    const { kill } = gateway({ url: peer.url, token: TOKEN })
    using target = await startTarget()
    expect(await kill({ pid: target.pid, startedBefore: '2020-02-02T02:02:02Z' })).toEqual(row(answers.ESRCH))
    expect(target.isAlive()).toBe(true)
    expect(await kill({ pid: target.pid })).toEqual(row(answers.sent))
    expect(await target.ended).toBe('SIGTERM')
    expect(await kill({ pid: await reapedPid() })).toEqual(row(answers.ESRCH))
    expect(await kill({ pid: peer.child.pid })).toEqual(row(answers.EPERM))
  })

  test('tells whether the process has exited, after a wait longer than the time-out', async () => {
    await using peer = await startServer()
    const { kill } = gateway({ url: peer.url, timeoutMs: 1000 })
    using obeys = await startTarget()
    using ignores = await startTarget("process.on('SIGTERM', () => {})")
    expect(await kill({ pid: obeys.pid, waitMs: 10_000 })).toEqual(row(answers.exited))
    expect(await kill({ pid: ignores.pid, waitMs: 1200 })).toEqual(row(answers.running))
  })

  test('that does not get the token it wants is a 500 whose log says so', async () => {
    await using peer = await startServer({ env: { PSYS_KILL_TOKEN: TOKEN } })
    using target = await startTarget()
    const { kill, causes } = gateway({ url: peer.url })
    expect(await kill({ pid: target.pid })).toEqual(FAILED)
    expect(String(causes)).toBe(`Error: ${peer.url}/api/connections/kill answered 401 {"error":"Unauthorized"}`)
    expect(target.isAlive()).toBe(true)
  })

  test('stops waiting for the exit when nobody waits for the answer any more', async () => {
    await using peer = await startServer()
    using target = await startTarget("process.on('SIGTERM', () => console.log('signalled'))")
    const leaving = new AbortController()
    const outcome = remoteSignaller({ url: peer.url }).terminate(target.pid, {
      waitMs: 60_000,
      stopWaiting: [never, leaving.signal],
      onSignal: () => {},
    })
    for await (const said of target.child.stdout ?? []) if (String(said).includes('signalled')) break
    leaving.abort()
    // Whether the peer had sent the signal is not known here.
    await expect(outcome).rejects.toThrow('abort')
    expect(await peer.record(({ outcome }) => outcome === 'running')).toMatchObject({ pid: target.pid })
  })
})

describe('a dry run', () => {
  const SEEN = { command: 'node', uid: 1000, startedAt: '2026-11-24T08:00:00.120Z' }
  const DRY = { pid: PID, dryRun: true }

  test('of a real peer signals nothing and tells of the process; a kill of what was seen kills it', async () => {
    await using peer = await startServer()
    const { kill } = gateway({ url: peer.url })
    using target = await startTarget("process.on('SIGTERM', () => { console.log('signalled'); process.exit() })")
    await sleep(50)
    const { status, text } = await kill({ pid: target.pid, dryRun: true, waitMs: 60_000, comment: 'a look' })
    const { process: seen } = JSON.parse(text)
    expect({ status, seen }).toMatchObject({ status: 200, seen: { command: expect.any(String) } })
    expect(await peer.record(({ outcome }) => outcome === 'would send')).toMatchObject({
      pid: target.pid,
      dryRun: true,
      comment: 'a look',
    })
    expect(await kill({ pid: target.pid, dryRun: true, command: 'other' })).toEqual(row(answers.ESRCH))
    expect(await kill({ pid: peer.child.pid, dryRun: true })).toEqual(row(answers.EPERM))
    expect(target.isAlive()).toBe(true)
    const meant = { command: seen.command, startedBefore: seen.startedAt, waitMs: 10_000 }
    expect(await kill({ pid: target.pid, ...meant })).toEqual(row(answers.exited))
  })

  test.each([
    ['with the process', { ok: true, dryRun: true, process: SEEN }, SEEN],
    ['with its name alone', { ok: true, dryRun: true, process: { command: '' } }, { command: '' }],
    ['without it', { ok: true, dryRun: true }, undefined],
    ['with more than is known here', { ok: true, dryRun: true, process: { ...SEEN, ppid: 1 } }, SEEN],
  ])('comes out as the peer answers it, %s, and is not said to have gone out', async (_, body, process) => {
    const onSignal = vi.fn()
    const fetch = answering(200, JSON.stringify(body))
    const outcome = await remoteSignaller({ url: 'http://peer', fetch }).terminate(PID, {
      dryRun: true,
      stopWaiting: [],
      onSignal,
    })
    expect(outcome).toEqual({ code: 'would send', command: process?.command, process })
    expect(onSignal).not.toHaveBeenCalled()
    expect(JSON.parse(String(fetch.mock.calls[0]?.[1].body))).toEqual(DRY)
  })

  test.each([
    // Of a peer that killed: 1.0 did not look at what it did not know.
    row(answers.sent),
    row(answers.exited),
    row(answers.running),
    // Of a peer that does not know the field.
    row(answers['unknown field']),
    { status: 200, text: '{"ok":true,"dryRun":false}' },
    { status: 200, text: '{"dryRun":true,"ok":true}' },
    { status: 200, text: '{"ok":true,"dryRun":true,"process":null}' },
    { status: 200, text: '{"ok":true,"dryRun":true,"process":{"command":1}}' },
    { status: 200, text: '{"ok":true,"dryRun":true,"process":{"command":"node","uid":"0"}}' },
    { status: 200, text: '{"ok":true,"dryRun":true,"process":{"command":"node","startedAt":"<b>"}}' },
    { status: 201, text: '{"ok":true,"dryRun":true}' },
    { status: 404, text: '{"ok":true,"dryRun":true,"process":{"command":"node"}}' },
    { status: 200, text: '<html>Welcome!</html>' },
  ])('answered with $status $text is a 500', async ({ status, text }) => {
    const { kill, causes } = gateway({ url: 'http://peer', fetch: answering(status, text) })
    expect(await kill(DRY)).toEqual(FAILED)
    expect(String(causes)).toBe(`Error: http://peer/api/connections/kill answered ${status} ${text}`)
  })

  test('that is half an answer is a 500', async () => {
    const { kill, causes } = gateway({ url: 'http://peer', fetch: answering(200, '{"ok":true,"dryRun":true,"proc') })
    expect(await kill(DRY)).toEqual(FAILED)
    expect(causes).toHaveLength(1)
  })

  test.each([
    row(answers['would send']),
    { status: 200, text: JSON.stringify({ ok: true, dryRun: true, process: SEEN }) },
  ])('is not what a kill is answered with: $text', async ({ status, text }) => {
    for (const body of [{ pid: PID }, { pid: PID, waitMs: 5 }, { pid: PID, dryRun: false }])
      expect(await gateway({ url: 'http://peer', fetch: answering(status, text) }).kill(body)).toEqual(FAILED)
  })
})

describe('the answer of a peer', () => {
  test.each([
    ...(['sent', 'EPERM', 'ESRCH', 'no startedBefore', 'no waitMs'] as const).map((code) => [code, {}] as const),
    ...(['exited', 'running', 'EPERM', 'ESRCH', 'no startedBefore', 'no waitMs', 'too many waits'] as const).map(
      (code) => [code, { waitMs: 5 }] as const,
    ),
    ...(['EPERM', 'ESRCH', 'no dryRun', 'no command', 'too many waits'] as const).map(
      (code) => [code, { dryRun: true, waitMs: 5 }] as const,
    ),
  ])('%s comes out unchanged of a kill with %j', async (code, fields) => {
    const { status, text } = row(answers[code])
    const { kill } = gateway({ url: 'http://peer', fetch: answering(status, text) })
    expect(await kill({ pid: PID, ...fields })).toEqual({ status, text })
  })

  test.each([
    ...(
      [
        ...['bad pid', 'bad startedBefore', 'bad waitMs', 'bad dryRun', 'bad command', 'bad comment'],
        ...['unknown field', 'bad method', 'too large', 'failed'],
      ] as const
    ).map((code) => row(answers[code])),
    ...(['unauthorized', 'host', 'proxy', 'origin', 'path'] as const).map((code) => row(serverAnswers[code])),
    row(answers.exited),
    row(answers.running),
    { status: 200, text: '<html>Welcome!</html>' },
    { status: 200, text: '' },
    { status: 201, text: '{"ok":true}' },
    { status: 404, text: '<html>404 Not Found</html>' },
    { status: 502, text: '<html>502 Bad Gateway</html>' },
    { status: 404, text: '{"ok":true}' },
  ])('that is no outcome is a 500: $status $text', async ({ status, text }) => {
    const { kill, causes } = gateway({ url: 'http://peer', fetch: answering(status, text) })
    expect(await kill({ pid: PID })).toEqual(FAILED)
    expect(String(causes)).toBe(`Error: http://peer/api/connections/kill answered ${status} ${text}`)
  })

  test('that does not say what became of the process is a 500 when that was asked', async () => {
    const { kill, causes } = gateway({ url: 'http://peer', fetch: answering(200, '{"ok":true}') })
    expect(await kill({ pid: PID, waitMs: 5 })).toEqual(FAILED)
    expect(causes).toHaveLength(1)
  })

  test('goes into the log shortened', async () => {
    const { kill, causes } = gateway({ url: 'http://peer', fetch: answering(200, 'x'.repeat(100_000)) })
    await kill({ pid: PID })
    expect(String(causes).length).toBeLessThan(300)
  })
})

describe('the request to a peer', () => {
  test('is not made for what is refused here', async () => {
    const fetch = answering(200, '{"ok":true}')
    const { kill } = gateway({ url: 'http://peer', fetch })
    expect(await kill({ pid: '1e3' })).toEqual(row(answers['bad pid']))
    expect(await kill({ pid: PID, waitMs: -1 })).toEqual(row(answers['bad waitMs']))
    expect(await kill({ pid: 2 ** 31 })).toEqual(row(answers.ESRCH))
    expect(fetch).not.toHaveBeenCalled()
  })

  test.each([
    ['http://peer:3000', 'http://peer:3000/api/connections/kill'],
    ['http://peer/', 'http://peer/api/connections/kill'],
    ['https://proxy.example/hosts/a', 'https://proxy.example/hosts/a/api/connections/kill'],
    ['https://proxy.example/hosts/a//', 'https://proxy.example/hosts/a/api/connections/kill'],
    ['http://peer/api/connections/kill', 'http://peer/api/connections/kill'],
  ])('at %s goes to %s', async (url, expected) => {
    const fetch = answering(200, '{"ok":true}')
    await remoteSignaller({ url, fetch }).terminate(PID, DELIVERY)
    expect(fetch.mock.calls.map(([called]) => called)).toEqual([expected])
  })

  test('carries the token, the PID as a number, the conditions and the comment', async () => {
    const requests: Request[] = []
    const fetch = async (url: string, init: RequestInit) => {
      requests.push(new Request(url, init))
      return new Response('{"ok":true,"exited":true}')
    }
    const startedBefore = new Date('2026-11-24T09:00:00.123+01:00')
    const signaller = remoteSignaller({ url: 'http://peer', token: TOKEN, fetch })
    const conditions = { startedBefore, waitMs: 0, command: 'node', comment: 'ticket \u2028 4711' }
    await signaller.terminate(PID, { ...DELIVERY, ...conditions })
    const [request] = requests
    expect(request?.headers.get('authorization')).toBe(`Bearer ${TOKEN}`)
    expect(request?.headers.get('content-type')).toBe('application/json')
    expect(await request?.json()).toEqual({ pid: PID, ...conditions, startedBefore: '2026-11-24T08:00:00.123Z' })
  })

  test.each([
    ['9999-12-31T23:59:59-23:59', '9999-12-31T23:59:59.999Z'],
    ['0000-01-01T00:00:00+01:00', '0000-01-01T00:00:00.000Z'],
  ])('carries a time that the peer can read for %s', async (startedBefore, text) => {
    const fetch = answering(200, '{"ok":true}')
    const { kill } = gateway({ url: 'http://peer', fetch })
    expect(await kill({ pid: PID, startedBefore })).toEqual(row(answers.sent))
    expect(JSON.parse(String(fetch.mock.calls[0]?.[1].body))).toEqual({ pid: PID, startedBefore: text })
  })

  test('is announced before it goes out', async () => {
    const said: unknown[] = []
    const fetch = async () => {
      said.push('request')
      return new Response('{"ok":true}')
    }
    await remoteSignaller({ url: 'http://peer', fetch }).terminate(PID, {
      stopWaiting: [],
      onSignal: (progress) => said.push(progress),
    })
    expect(said).toEqual([{ code: 'forwarded' }, 'request'])
  })

  test('carries no Authorization without a token, and no condition that was not set', async () => {
    const requests: Request[] = []
    const fetch = async (url: string, init: RequestInit) => {
      requests.push(new Request(url, init))
      return new Response('{"ok":true}')
    }
    await remoteSignaller({ url: 'http://peer', fetch }).terminate(PID, DELIVERY)
    expect(requests[0]?.headers.has('authorization')).toBe(false)
    expect(await requests[0]?.json()).toEqual({ pid: PID })
  })

  test('may take its time-out, and waitMs on top of it', async () => {
    const timeout = vi.spyOn(AbortSignal, 'timeout')
    const fetch = answering(404, '{"error":"Process not found"}')
    await remoteSignaller({ url: 'http://peer', fetch }).terminate(PID, DELIVERY)
    await remoteSignaller({ url: 'http://peer', fetch, timeoutMs: 100 }).terminate(PID, DELIVERY)
    await remoteSignaller({ url: 'http://peer', fetch }).terminate(PID, { ...DELIVERY, waitMs: 60_000 })
    expect(timeout.mock.calls).toEqual([[5000], [100], [65_000]])
  })

  test.each([
    ['does not answer', () => {}],
    ['does not end its answer', (_request, response) => response.writeHead(200).write('{"ok":')],
  ] satisfies [string, RequestListener][])('fails when the peer %s in time', async (_name, answer) => {
    using peer = await startPeer(answer)
    const { kill, causes } = gateway({ url: peer.url, timeoutMs: 100 })
    expect(await kill({ pid: PID })).toEqual(FAILED)
    expect(causes).toMatchObject([{ name: 'TimeoutError' }])
  })

  test('fails in time also where the garbage collector runs while the peer is silent', async () => {
    setFlagsFromString('--expose-gc')
    const collect: () => void = runInNewContext('gc')
    using peer = await startPeer(() => {})
    const { kill, causes } = gateway({ url: peer.url, timeoutMs: 300 })
    const answer = kill({ pid: PID })
    await expect.poll(() => peer.requests()).toBe(1)
    for (let i = 0; i < 5; i++) {
      collect()
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect(await answer).toEqual(FAILED)
    expect(causes).toMatchObject([{ name: 'TimeoutError' }])
  })

  test('fails when there is no peer, with the reason in the log', async () => {
    let url: string
    {
      using peer = await startPeer(() => {})
      url = peer.url
    }
    const { kill, causes } = gateway({ url })
    expect(await kill({ pid: PID })).toEqual(FAILED)
    expect(causes).toMatchObject([{ cause: { code: 'ECONNREFUSED' } }])
  })

  test.each([
    ['421, after which fetch in Node would try again', (_request, response) => response.writeHead(421).end()],
    ['503', (_request, response) => response.writeHead(503, { 'retry-after': '0' }).end()],
    ['a redirect', (_request, response) => response.writeHead(307, { location: '/elsewhere' }).end()],
    ['a permanent redirect', (_request, response) => response.writeHead(308, { location: '/elsewhere' }).end()],
    ['a reset connection', (request) => request.socket.resetAndDestroy()],
    ['a closed connection', (request) => request.socket.end()],
  ] satisfies [string, RequestListener][])('is sent once when the answer is %s', async (_name, answer) => {
    using peer = await startPeer(answer)
    const { kill, causes } = gateway({ url: peer.url })
    expect(await kill({ pid: PID })).toEqual(FAILED)
    expect(causes).toHaveLength(1)
    expect(peer.requests()).toBe(1)
  })

  test.each([
    ['a page', 'document', 'string'],
    ['a worker', 'WorkerGlobalScope', 'string'],
    ['a server', 'Nothing', 'stream'],
  ])('from %s, where there is a %s, is a %s', async (_where, name, form) => {
    const fetch = answering(200, '{"ok":true}')
    vi.stubGlobal('fetch', fetch)
    vi.stubGlobal(name, {})
    // Where it runs is seen when the module is loaded.
    vi.resetModules()
    const fresh = await import('../../src/app/remote.ts')
    await fresh.remoteSignaller({ url: 'http://peer' }).terminate(PID, DELIVERY)
    const [url, init] = fetch.mock.calls[0] ?? []
    expect(url).toBe('http://peer/api/connections/kill')
    expect(init).toMatchObject({ method: 'POST', redirect: 'manual' })
    expect(typeof init?.body).toBe(form === 'string' ? 'string' : 'object')
    expect(init && 'duplex' in init).toBe(form === 'stream')
    expect(await new Response(init?.body ?? null).json()).toEqual({ pid: PID })
  })

  test('is sent once when a connection that was kept alive is reset', async () => {
    using peer = await startPeer((request, response) =>
      peer.requests() === 1 ? response.end('{"ok":true}') : request.socket.resetAndDestroy(),
    )
    const { kill } = gateway({ url: peer.url })
    expect(await kill({ pid: PID })).toEqual(row(answers.sent))
    expect(await kill({ pid: PID })).toEqual(FAILED)
    expect(peer.requests()).toBe(2)
  })
})
