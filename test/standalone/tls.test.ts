import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { connect as connectTcp, type Socket } from 'node:net'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import { connect } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { authority, type Identity, LOOPBACK } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { needsOpenssl } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { killRequest } from '../support/raw.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { messageOf, TOKEN } from '../support/settings.ts'
import { startTarget } from '../support/target.ts'
import { askTls, openTls } from '../support/tls.ts'

beforeEach(needsOpenssl)

const folder = emptyFolder()
afterAll(() => folder[Symbol.dispose]())

const make = () => {
  const ours = authority(folder, 'ours')
  const others = authority(folder, 'others')
  return {
    ours,
    others,
    server: ours.issue('server', LOOPBACK),
    alice: ours.issue('alice'),
    nameless: ours.issue('nameless', { subject: '/O=nobody', alternative: 'DNS:host.example,DNS:other.example' }),
    expired: ours.issue('expired', { days: [-2, -1] }),
    stranger: others.issue('alice'),
  }
}
let known: ReturnType<typeof make>
beforeAll(() => {
  known = make()
})

const identity = ({ cert, key }: Identity) => ({ cert, key })
/** A client that trusts the server's authority. */
const client = (who?: Identity): ConnectionOptions => ({ ca: known.ours.ca, ...(who && identity(who)) })
const start = (args: readonly string[] = [], env: Record<string, string> = {}) =>
  startServer({
    args: ['--port', '0', '--tls-cert', known.server.certFile, '--tls-key', known.server.keyFile, ...args],
    env,
  })
const UNAUTHORIZED = { status: 401, text: '{"error":"Unauthorized"}' }
const SENT = { status: 200, text: '{"ok":true}' }

describe('a server with a certificate', () => {
  let server: RunningServer
  beforeAll(async () => {
    server = await start()
  })
  afterAll(() => server?.[Symbol.asyncDispose]())

  test('says so, and kills', async () => {
    expect(server.url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/)
    using target = startSleeper()
    expect(await askTls(server.url, client(), { body: { pid: target.pid } })).toMatchObject(SENT)
    expect(await target.ended).toBe('SIGTERM')
  })

  test('is of the origin https, and of no other', async () => {
    const { host } = new URL(server.url)
    const ask = async (origin: string) => (await askTls(server.url, client(), { headers: { origin } })).status
    expect(await ask(`https://${host}`)).toBe(400)
    expect(await ask(`http://${host}`)).toBe(403)
  })

  test('speaks TLS 1.2 and newer alone, and nothing in clear text', async () => {
    const ask = (maxVersion: 'TLSv1.1' | 'TLSv1.2') =>
      askTls(server.url, { ...client(), minVersion: 'TLSv1', maxVersion, ciphers: 'DEFAULT@SECLEVEL=0' })
    expect(await ask('TLSv1.2')).toMatchObject({ status: 400 })
    await expect(ask('TLSv1.1')).rejects.toThrow()
    await expect(fetch(server.url.replace('https', 'http'))).rejects.toThrow()
  })
})

describe('a server with a client CA', () => {
  let server: RunningServer
  let both: RunningServer
  beforeAll(async () => {
    const args = ['--tls-client-ca', known.ours.caFile]
    server = await start(args)
    both = await start(args, { PSYS_KILL_TOKEN: `bob:${TOKEN}` })
  })
  afterAll(async () => {
    await server?.[Symbol.asyncDispose]()
    await both?.[Symbol.asyncDispose]()
  })

  test.each([
    ['alice', 'alice'],
    ['nameless', 'host.example'],
  ] as const)('lets %s kill, on record as %s', async (who, by) => {
    using target = startSleeper()
    expect(await askTls(server.url, client(known[who]), { body: { pid: target.pid } })).toMatchObject(SENT)
    expect(await target.ended).toBe('SIGTERM')
    expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({ by, outcome: 'sent' })
  })

  test.each(['nobody', 'stranger', 'expired'] as const)('refuses %s, who may ask for its health', async (who) => {
    using canary = startSleeper()
    const seen = server.records.length
    const as = client(who === 'nobody' ? undefined : known[who])
    expect(await askTls(server.url, as, { body: { pid: canary.pid } })).toMatchObject(UNAUTHORIZED)
    const record = await server.record((each) => server.records.indexOf(each) >= seen)
    expect(record).toMatchObject({ outcome: 'refused', reason: 'certificate', status: 401 })
    expect(record).not.toHaveProperty('by')
    expect(await askTls(server.url, as, { method: 'GET', path: '/healthz' })).toMatchObject({ status: 200 })
    expect(canary.isAlive()).toBe(true)
  })

  test('refuses a client without a certificate also where it resumes a session', async () => {
    using canary = startSleeper()
    using first = await openTls(server.url, client())
    const resumable = once(first.socket, 'session')
    first.socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const [session] = await resumable
    for (const resumed of [{}, { session }])
      expect(await askTls(server.url, { ...client(), ...resumed }, { body: { pid: canary.pid } })).toMatchObject(
        UNAUTHORIZED,
      )
    expect(canary.isAlive()).toBe(true)
  })

  test('with a token asks for both, and records the name of the token', async () => {
    const authorization = `Bearer ${TOKEN}`
    using target = startSleeper()
    const body = { pid: target.pid }
    expect(await askTls(both.url, client(known.alice), { body })).toMatchObject(UNAUTHORIZED)
    expect(await askTls(both.url, client(), { body, headers: { authorization } })).toMatchObject(UNAUTHORIZED)
    expect(target.isAlive()).toBe(true)
    expect(await askTls(both.url, client(known.alice), { body, headers: { authorization } })).toMatchObject(SENT)
    await both.record(({ by }) => by === 'bob')
    expect(both.records.map(({ reason, by }) => [reason, by])).toEqual([
      ['token', 'alice'],
      ['certificate', undefined],
      [undefined, 'bob'],
    ])
  })

  test('may listen beyond loopback without a token, and takes what comes through a proxy', async () => {
    await using open = await start(['--tls-client-ca', known.ours.caFile, '--host', '0.0.0.0'])
    const { port } = new URL(open.url)
    using target = startSleeper()
    const asked = { body: { pid: target.pid }, headers: { via: '1.1 proxy' } }
    expect(await askTls(`https://127.0.0.1:${port}`, client(known.alice), asked)).toMatchObject(SENT)
  })

  test('drops a client that never speaks TLS at a stop, without waiting for it', async () => {
    await using closing = await start(['--tls-client-ca', known.ours.caFile])
    const { port } = new URL(closing.url)
    const silent = connectTcp(Number(port), '127.0.0.1')
    silent.on('error', () => {})
    await once(silent, 'connect')
    const closed = once(silent, 'close')
    expect(await closing.stop()).toBe(0)
    await closed
  })
})

test('thousands of half handshakes stay below 200 MB, and do not last', async () => {
  await using server = await start()
  const { port } = new URL(server.url)
  const half = Buffer.alloc(16_000)
  half.set([22, 3, 1, 0x3f, 0xff])
  let dropped = 0
  const sockets = await new Promise<Socket[]>((resolve) => {
    const all = Array.from({ length: 3000 }, () => {
      const socket = connectTcp(Number(port), '127.0.0.1').on('error', () => {})
      socket.on('close', () => ++dropped === 2000 && resolve(all))
      socket.write(half)
      return socket
    })
  })
  const [, peakKb] = /^VmHWM:\s+(\d+)/m.exec(readFileSync(`/proc/${server.child.pid}/status`, 'utf8')) ?? []
  expect(Number(peakKb)).toBeLessThan(200_000)
  for (const socket of sockets) socket.destroy()
  await vi.waitFor(async () => expect(await askTls(server.url, client())).toMatchObject({ status: 400 }), 5000)
})

describe('on SIGHUP', () => {
  test('a revoked certificate and another authority are out, and no request is dropped', async () => {
    const list = folder.file('authorities')
    writeFileSync(list, known.ours.ca)
    await using server = await start(['--tls-client-ca', list])
    const agent = new Agent({ ...client(known.alice), keepAlive: true })
    const asAlice = () => askTls(server.url, {}, { agent, body: {} })
    expect(await asAlice()).toMatchObject({ status: 400 })

    using target = startSleeper()
    using before = await openTls(server.url, client(known.alice))
    const body = JSON.stringify({ pid: target.pid, waitMs: 300 })
    using deaf = await startTarget(`process.on('SIGTERM', () => {})`)
    const waiting = JSON.stringify({ pid: deaf.pid, waitMs: 800 })
    before.socket.write(
      `POST /api/connections/kill HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${waiting.length}\r\n\r\n${waiting}`,
    )
    await server.record(({ pid }) => pid === deaf.pid)

    const bob = known.ours.issue('bob')
    writeFileSync(list, known.ours.ca + known.ours.revoke(known.alice))
    const from = server.stdout().length
    server.child.kill('SIGHUP')
    await server.says(/"message":"reloaded"/, from)

    // The wait was answered, and then its connection was closed.
    expect(await before.closed).toContain('{"ok":true,"exited":false}')
    expect(await asAlice()).toMatchObject(UNAUTHORIZED)
    expect(await askTls(server.url, client(known.alice), { body })).toMatchObject(UNAUTHORIZED)
    expect(target.isAlive()).toBe(true)
    expect(await askTls(server.url, client(bob), { body })).toMatchObject({ status: 200 })
    agent.destroy()
  })

  test('a revoked certificate is out also for a request that is queued until it may continue', async () => {
    const list = folder.file('authorities-queued')
    writeFileSync(list, known.ours.ca)
    await using server = await start(['--tls-client-ca', list])
    const carol = known.ours.issue('carol')
    using before = await openTls(server.url, client(carol))
    using deaf = await startTarget(`process.on('SIGTERM', () => {})`)
    using canary = startSleeper()
    const asking = (body: object, headers = {}) =>
      killRequest(JSON.stringify(body), { connection: 'keep-alive', ...headers })
    const wait = asking({ pid: deaf.pid, waitMs: 1500 })
    before.socket.write(Buffer.concat([wait, asking({ pid: canary.pid }, { expect: '100-continue' })]))
    await server.record(({ pid }) => pid === deaf.pid)
    writeFileSync(list, known.ours.ca + known.ours.revoke(carol))
    server.child.kill('SIGHUP')
    await server.says(/"message":"reloaded"/)
    expect(await before.closed).toMatch(/^HTTP[^{]*\{"ok":true,"exited":false\}$/)
    expect(canary.isAlive()).toBe(true)
  })

  test('a file that is wrong leaves what was in force, and is told', async () => {
    const cert = folder.file('own.pem')
    writeFileSync(cert, known.server.cert)
    await using server = await startServer({
      args: ['--port', '0', '--tls-cert', cert, '--tls-key', known.server.keyFile],
    })
    writeFileSync(cert, known.stranger.cert)
    server.child.kill('SIGHUP')
    await server.says(/"message":"not reloaded: The certificate \S+ with the key \S+ cannot be used: [^"]+"/)
    expect(await askTls(server.url, client())).toMatchObject({ status: 400 })
    expect(await server.stop()).toBe(0)
  })

  test('a new certificate of its own is shown to whoever comes next', async () => {
    const cert = folder.file('renewed.pem')
    const key = folder.file('renewed.key')
    const put = (who: Identity) => {
      writeFileSync(cert, who.cert)
      writeFileSync(key, who.key, { mode: 0o600 })
    }
    put(known.server)
    await using server = await startServer({ args: ['--port', '0', '--tls-cert', cert, '--tls-key', key] })
    const shown = async () => {
      const { port } = new URL(server.url)
      const socket: TLSSocket = connect({ port: Number(port), host: '127.0.0.1', ...client() })
      await once(socket, 'secureConnect')
      const { serialNumber } = socket.getPeerCertificate()
      socket.destroy()
      return serialNumber
    }
    const old = await shown()
    put(known.ours.issue('next', LOOPBACK))
    server.child.kill('SIGHUP')
    await server.says(/"message":"reloaded"/)
    expect(await shown()).not.toBe(old)
  })
})

describe('does not start', () => {
  const failure = async (args: readonly string[]) => {
    const failed = await start(args).then(
      () => 'it started',
      (error: Error) => error.message,
    )
    return failed.slice(failed.indexOf('psys-kill: '))
  }
  const ONE_LINE = /^psys-kill: [^\n]+\.\n$/

  test('with half of what it needs', () => {
    for (const args of [
      ['--tls-cert', 'a'],
      ['--tls-key', 'a'],
      ['--tls-client-ca', 'a'],
    ])
      expect(messageOf(args)).toBe('TLS needs both --tls-cert and --tls-key.')
  })

  test.each([
    ['a certificate that expired', () => ['--tls-cert', known.expired.certFile, '--tls-key', known.expired.keyFile]],
    ['a key of another certificate', () => ['--tls-key', known.alice.keyFile]],
    ['a key that is none', () => ['--tls-key', known.alice.certFile]],
    ['a certificate that is not there', () => ['--tls-cert', folder.file('nowhere')]],
    ['a client CA that is not there', () => ['--tls-client-ca', folder.file('nowhere')]],
    ['a client CA without a certificate', () => ['--tls-client-ca', known.alice.keyFile]],
    ['a folder', () => ['--tls-client-ca', folder.path]],
  ] as const)('with %s, and says so in one line', async (_what, args) => {
    expect(await failure(args())).toMatch(ONE_LINE)
  })
})
