import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import type { ConnectionOptions } from 'node:tls'
import { Hono } from 'hono'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { messageOf, SettingsError } from '../../src/standalone/report.ts'
import { prepareTls, requireCertificate, type TlsFiles } from '../../src/standalone/tls.ts'
import { emptyFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'
import { startDeaf, startSleeper, type Target } from '../support/processes.ts'
import { killRequest } from '../support/raw.ts'
import { type RunningServer, startServer, TOKEN } from '../support/server.ts'
import { askTls, authority, type Identity, LOOPBACK, openTls } from '../support/tls.ts'

const UNAUTHORIZED = { status: 401, text: '{"error":"Unauthorized"}' }
const SENT = { status: 200, text: '{"ok":true}' }

describeWith(['openssl'], 'TLS', () => {
  const folder = emptyFolder()
  const make = () => {
    const [ours, others] = [authority(folder, 'ours'), authority(folder, 'others')]
    const revoked = ours.issue('revoked')
    const list = ours.revoke(revoked)
    return {
      ours,
      others,
      revoked,
      list,
      server: ours.issue('server', LOOPBACK),
      alice: ours.issue('alice'),
      expired: ours.issue('expired', { days: [-2, -1] }),
      future: ours.issue('future', { days: [1, 2] }),
      stranger: others.issue('alice'),
    }
  }
  let known: ReturnType<typeof make>
  /** It has a client CA with a list of revoked certificates, and listens on all addresses. */
  let server: RunningServer
  let url: string
  let canary: Target
  const client = (who?: Identity): ConnectionOptions => ({
    ca: known.ours.ca,
    ...(who && { cert: who.cert, key: who.key }),
  })
  const start = (env: Record<string, string> = {}, ...args: string[]) => {
    const own = ['--tls-cert', known.server.certFile, '--tls-key', known.server.keyFile]
    return startServer({ args: ['--port', '0', ...own, ...args], env })
  }

  test('clients whose waits end together lose no later request', async () => {
    await using each = await start()
    using deaf = await startDeaf()
    const answered = (times: number) => new RegExp(`(HTTP/1.1 200 [\\s\\S]*){${times}}`)
    const connections = await Promise.all(Array.from({ length: 50 }, () => openTls(each.url, client())))
    const askTwice = connections.map(async (connection) => {
      connection.socket.write(killRequest(JSON.stringify({ pid: deaf.pid, waitMs: 500 }), { connection: 'keep-alive' }))
      await connection.until(answered(1))
      connection.socket.write(killRequest(JSON.stringify({ pid: deaf.pid })))
      await connection.until(answered(2))
    })
    await Promise.all(askTwice)
  })

  beforeAll(async () => {
    known = make()
    writeFileSync(folder.file('clients'), `A list of us.\n${known.ours.ca}\n Serial: 1\n${known.list}\nThe end.\n`)
    server = await start({}, '--tls-client-ca', folder.file('clients'), '--host', '0.0.0.0')
    url = server.url.replace('0.0.0.0', '127.0.0.1')
    canary = startSleeper()
  })
  afterAll(async () => {
    expect(canary.isAlive()).toBe(true)
    canary[Symbol.dispose]()
    await server[Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  test('a client CA lets alice kill, also through a proxy, and the record has her name', async () => {
    using target = startSleeper()
    const asked = { body: { pid: target.pid }, headers: { via: '1.1 proxy' } }
    expect(await askTls(url, client(known.alice), asked)).toMatchObject(SENT)
    expect(await target.ended).toBe('SIGTERM')
    expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({ by: 'alice', outcome: 'sent' })
    expect(server.stderr()).toBe('')
  })

  test.each(['nobody', 'stranger', 'expired', 'future', 'revoked'] as const)(
    'a client CA refuses the certificate of %s, except for a health check',
    async (who) => {
      const as = client(who === 'nobody' ? undefined : known[who])
      const { headers, ...refused } = await askTls(url, as, { body: { pid: canary.pid } })
      expect(refused).toMatchObject(UNAUTHORIZED)
      const record = await server.record(({ id }) => id === headers['x-request-id'])
      expect(record).toMatchObject({ outcome: 'refused', reason: 'certificate', status: 401 })
      expect(record).not.toHaveProperty('by')
      expect(await askTls(url, as, { method: 'GET', path: '/healthz' })).toMatchObject({ status: 200 })
    },
  )

  test('a client without a certificate is refused also if it resumes a session', async () => {
    using first = await openTls(url, client())
    const resumable = once(first.socket, 'session')
    first.socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    const [session] = await resumable
    using resumed = await openTls(url, { ...client(), session })
    expect(resumed.socket.isSessionReused()).toBe(true)
    resumed.socket.write(killRequest(JSON.stringify({ pid: canary.pid })))
    expect(await resumed.closed).toMatch(/^HTTP\/1\.1 401 [\s\S]*Psys-Kill-Reason: certificate\r\n/)
  })

  test('a client CA with a token requires both, and records the name of the token', async () => {
    await using both = await start({ PSYS_KILL_TOKEN: `bob:${TOKEN}` }, '--tls-client-ca', known.ours.caFile)
    const headers = { authorization: `Bearer ${TOKEN}` }
    using target = startSleeper()
    const body = { pid: target.pid }
    expect(await askTls(both.url, client(known.alice), { body })).toMatchObject(UNAUTHORIZED)
    expect(await askTls(both.url, client(), { body, headers })).toMatchObject(UNAUTHORIZED)
    expect(await askTls(both.url, client(known.alice), { body, headers })).toMatchObject(SENT)
    await both.record(({ by }) => by === 'bob')
    expect(both.records.map(({ reason, by }) => [reason, by])).toEqual([
      ['token missing', 'alice'],
      ['certificate', undefined],
      [undefined, 'bob'],
    ])
  })

  test('a certificate alone: its origin is https, it speaks TLS 1.2 and newer, and nothing in clear text', async () => {
    // Otherwise, OpenSSL would refuse an old version by itself.
    await using open = await start({ NODE_OPTIONS: '--tls-min-v1.0 --tls-cipher-list=DEFAULT@SECLEVEL=0' })
    const { host, protocol } = new URL(open.url)
    expect(protocol).toBe('https:')
    const ask = async (origin: string) => (await askTls(open.url, client(), { headers: { origin } })).status
    expect(await ask(`https://${host}`)).toBe(400)
    expect(await ask(`http://${host}`)).toBe(403)
    const old = { ...client(), minVersion: 'TLSv1', ciphers: 'DEFAULT@SECLEVEL=0' } as const
    expect(await askTls(open.url, { ...old, maxVersion: 'TLSv1.2' })).toMatchObject({ status: 400 })
    await expect(askTls(open.url, { ...old, maxVersion: 'TLSv1.1' })).rejects.toThrow()
    await expect(fetch(open.url.replace('https', 'http'))).rejects.toThrow()
    expect(open.stderr()).toMatch(/^psys-kill: Every local user can now kill .+\n$/)
  })

  /** How the preparation ends with these files instead of good ones. */
  const prepared = (files: Partial<TlsFiles>) => {
    const good = { cert: known.server.certFile, key: known.server.keyFile, clientCa: folder.file('clients') }
    try {
      prepareTls({ ...good, ...files })
      return 'good'
    } catch (error) {
      expect(error).toBeInstanceOf(SettingsError)
      return messageOf(error)
    }
  }
  const INVALID = /: it is valid only from .+ until .+\.$/
  const OWN = /^Cannot use --tls-cert with --tls-key, [^:]+: .+\.$/
  const CLIENT_CA = /^Cannot use --tls-client-ca: .+\.$/

  test.each<[what: string, files: () => Partial<TlsFiles>, message: RegExp]>([
    ['a certificate that expired', () => ({ cert: known.expired.certFile, key: known.expired.keyFile }), INVALID],
    ['one that is not valid yet', () => ({ cert: known.future.certFile, key: known.future.keyFile }), INVALID],
    ['the key of another certificate', () => ({ key: known.alice.keyFile }), OWN],
    ['a key that is a certificate', () => ({ key: known.server.certFile }), OWN],
    ['no certificate', () => ({ cert: folder.file('nowhere') }), /^Cannot read the file of --tls-cert: ENOENT; .+\.$/],
    ['no client CA', () => ({ clientCa: folder.path }), /^Cannot read the file of --tls-client-ca: it is not .+\.$/],
  ])('does not start with %s', (_what, files, message) => {
    expect(prepared(files())).toMatch(message)
  })

  const CUT = /it may contain only complete PEM blocks \(CERTIFICATE, X509 CRL\) and text between them\.$/
  test.each<[what: string, content: () => string | Buffer, message: RegExp]>([
    ['text between the blocks', () => `a\n${known.others.ca}- b -\n${known.ours.ca} ----\n${known.list}c\n`, /^good$/],
    ['the line ends of Windows', () => (known.ours.ca + known.list).replaceAll('\n', '\r\n'), /^good$/],
    ['an old authority beside a valid one', () => known.expired.cert + known.ours.ca, /^good$/],
    ['nothing', () => '', CLIENT_CA],
    ['a list of revoked certificates alone', () => known.list, CLIENT_CA],
    ['a certificate without its last line', () => known.ours.ca.replace(/-----END.*\n/, ''), CUT],
    ['a list without its last line', () => known.ours.ca + known.list.replace(/-----END.*\n/, ''), CUT],
    ['a list with another label at its end', () => known.ours.ca + known.list.replace('END X509 CRL', 'END CRL'), CUT],
    ['a key', () => known.ours.ca + known.alice.key, CUT],
    ['a header in a block', () => known.ours.ca.replace('-----\n', '-----\nProc-Type: 4\n\n'), CUT],
    ['binary bytes', () => `${known.ours.ca}\x01`, CUT],
    ['bytes that are no UTF-8', () => Buffer.from(`${known.ours.ca}\xff`, 'latin1'), CLIENT_CA],
    ['DER', () => new X509Certificate(known.ours.ca).raw, CLIENT_CA],
    ['no certificate in a block', () => known.ours.ca.replace(/-\n[^-]+/, '-\nAAAA\n'), CLIENT_CA],
  ])('a client CA file with %s: %#', (_what, content, message) => {
    writeFileSync(folder.file('some'), content())
    const said = prepared({ clientCa: folder.file('some') })
    expect(said).toMatch(message)
    if (said !== 'good') expect(said).toMatch(CLIENT_CA)
  })
})

const valid_to = new Date(Date.now() + 86_400_000).toUTCString()
const past = new Date(0).toUTCString()
test.each<[what: string, authorized: boolean, certificate: unknown, caller: string | number]>([
  ['two names', true, { subject: { CN: ['alice', 'bob'] }, valid_to }, 'alice'],
  ['no name', true, { subject: {}, valid_to }, 'nameless'],
  ['an alternative name', true, { subject: {}, subjectaltname: 'DNS:a.example, DNS:b.example', valid_to }, 'a.example'],
  ['one in quotes', true, { subjectaltname: 'DNS:"a, DNS:root", DNS:b', valid_to }, '"a, DNS:root"'],
  ['none, on a session that is resumed', true, {}, 401],
  ['none, on a connection that is closed', true, null, 401],
  ['a name, expired since the handshake', true, { subject: { CN: 'alice' }, valid_to: past }, 401],
  ['one that was not verified', false, { subject: { CN: 'alice' }, valid_to }, 401],
])('a certificate with %s', async (_what, authorized, certificate, caller) => {
  const app = new Hono().use(requireCertificate).get('/', (c) => c.text(c.get('killCaller') ?? 'nameless'))
  const incoming = { socket: { authorized, getPeerCertificate: () => certificate } }
  const response = await app.request('/', {}, { incoming })
  expect(response.status === 200 ? await response.text() : response.status).toBe(caller)
})
