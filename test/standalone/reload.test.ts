import { X509Certificate } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import type { ConnectionOptions } from 'node:tls'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { killRequest, openRaw } from '../support/raw.ts'
import { type RunningServer, startServer, TOKEN } from '../support/server.ts'
import { askTls, authority, type Identity, LOOPBACK, openTls } from '../support/tls.ts'

const as = (token: string) => ({ authorization: `Bearer ${token}` })
const ALICE = `${TOKEN}-of-alice`
const BOB = `${TOKEN}-of-bob`

const folder = emptyFolder()
afterAll(() => folder[Symbol.dispose]())
const write = (name: string, text: string) => {
  writeFileSync(folder.file(name), text, { mode: 0o600 })
  return folder.file(name)
}

/** Sends SIGHUP, and resolves with what the server says then. */
const reload = async (server: RunningServer, until = /"message":"(not )?reloaded/) => {
  const from = server.stdout().length
  server.child.kill('SIGHUP')
  await server.says(until, from)
  return server.stdout().slice(from)
}

describe('tokens', () => {
  let server: RunningServer
  const statusOf = async (token: string) => (await server.kill({}, as(token))).status
  beforeAll(async () => {
    server = await startServer({ args: ['--port', '0', '--token-file', write('tokens', `alice:${ALICE}\n`)] })
  })
  beforeEach(async () => {
    write('tokens', `alice:${ALICE}\n`)
    await reload(server)
  })
  afterAll(async () => {
    expect(server.stdout() + server.stderr()).not.toContain(TOKEN)
    await server[Symbol.asyncDispose]()
  })

  test.each(['', `alice:${ALICE}\nalice:${BOB}\n`])('of a wrong file, such as %j, change nothing', async (text) => {
    write('tokens', text)
    expect(await reload(server)).toMatch(/"message":"not reloaded: (There is no token |Line \d of the token file[ :])/)
    expect([await statusOf(ALICE), await statusOf(BOB)]).toEqual([400, 401])
  })

  test.each(['sends the rest', 'leaves'])(
    'count at once, and are said to be in force only when who was sending %s',
    async (what) => {
      using target = startSleeper()
      using connection = await openRaw(server.url)
      const request = killRequest(JSON.stringify({ pid: target.pid }), as(ALICE))
      connection.socket.write(request.subarray(0, -3))
      expect(await statusOf(ALICE)).toBe(400)

      write('tokens', `bob:${BOB}\ncarol:${TOKEN}-of-carol`)
      const from = server.stdout().length
      server.child.kill('SIGHUP')
      await expect.poll(() => statusOf(BOB)).toBe(400)
      expect(await statusOf(ALICE)).toBe(401)
      expect(server.stdout().slice(from)).not.toContain('reloaded')

      if (what === 'leaves') connection.socket.destroy()
      else connection.socket.write(request.subarray(-3))
      await server.says(/"message":"reloaded: tokens bob, carol"/, from)
      // Its head was received before.
      if (what !== 'leaves') expect(await connection.closed).toMatch(/^HTTP\/1\.1 200 /)
      else expect(await server.kill({ pid: target.pid }, as(BOB))).toMatchObject({ status: 200 })
      const by = what === 'leaves' ? 'bob' : 'alice'
      expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({ by, outcome: 'sent' })
      write('tokens', BOB)
      expect(await reload(server)).toContain('"message":"reloaded: tokens without a name"')
    },
  )
})

describeWith(['openssl'], 'TLS', () => {
  const make = () => {
    const [ours, publicCa] = [authority(folder, 'ours'), authority(folder, 'public')]
    const [alice, revoked, stranger] = [ours.issue('alice'), ours.issue('revoked'), publicCa.issue('stranger')]
    const [old, next] = [ours.issue('old', LOOPBACK), ours.issue('next', LOOPBACK)]
    return { ours, publicCa, alice, revoked, stranger, old, next, list: ours.revoke(revoked) }
  }
  let known: ReturnType<typeof make>
  let server: RunningServer
  const use = ({ cert, key }: Identity) => {
    write('own.pem', cert)
    write('own.key', key)
  }
  const client = ({ cert, key }: Identity): ConnectionOptions => ({ ca: known.ours.ca, cert, key })
  const statusOf = async (who: Identity, token = ALICE, agent?: Agent) =>
    (await askTls(server.url, client(who), { headers: as(token), ...(agent && { agent }) })).status
  const shown = async () => {
    using connection = await openTls(server.url, client(known.alice))
    return connection.socket.getPeerCertificate().subject.CN
  }

  /** Writes all files as they are at the start. */
  const reset = () => {
    use(known.old)
    write('authorities', known.ours.ca + known.list)
    write('both', `alice:${ALICE}`)
  }
  beforeAll(async () => {
    known = make()
    reset()
    const files = { 'tls-cert': 'own.pem', 'tls-key': 'own.key', 'tls-client-ca': 'authorities', 'token-file': 'both' }
    const args = Object.entries(files).flatMap(([option, name]) => [`--${option}`, folder.file(name)])
    // To this server, the other authority is a public one.
    const env = { NODE_EXTRA_CA_CERTS: known.publicCa.caFile }
    server = await startServer({ args: ['--port', '0', ...args], env })
  })
  afterAll(() => server[Symbol.asyncDispose]())
  beforeEach(async () => {
    reset()
    await reload(server)
  })

  test('shows a new certificate from the next handshake on; new tokens count on open connections too', async () => {
    const agent = new Agent({ ...client(known.alice), keepAlive: true })
    expect(await statusOf(known.alice, ALICE, agent)).toBe(400)
    expect(await shown()).toBe('old')
    use(known.next)
    write('both', `bob:${BOB}`)
    const { validTo } = new X509Certificate(known.next.cert)
    expect(await reload(server)).toContain(
      `"reloaded: tokens bob; certificate valid until ${validTo}; not the client CA, which takes a restart"`,
    )
    expect(await shown()).toBe('next')
    expect(await statusOf(known.alice, ALICE, agent)).toBe(401)
    for (const each of [agent, undefined]) expect(await statusOf(known.alice, BOB, each)).toBe(400)
    // The client CA file, and it alone, still tells who may call.
    for (const who of [known.stranger, known.revoked]) expect(await statusOf(who, BOB)).toBe(401)
    agent.destroy()
  })

  test.each<[what: string, spoil: () => void]>([
    ['certificate of another key', () => write('own.pem', known.next.cert)],
    ['half of a certificate', () => write('own.pem', known.old.cert.slice(0, 200))],
  ])('changes nothing with a good token file and a %s', async (_what, spoil) => {
    write('both', `bob:${BOB}`)
    spoil()
    expect(await reload(server)).toMatch(/"message":"not reloaded: [^"]+ (file|--tls-cert) [^"]+"/)
    expect(await statusOf(known.alice, ALICE)).toBe(400)
    expect(await statusOf(known.alice, BOB)).toBe(401)
    expect(await shown()).toBe('old')
  })

  test('does not apply a changed client CA file, and says so', async () => {
    write('authorities', known.ours.ca)
    expect(await reload(server)).toMatch(/"reloaded: [^"]+; not the client CA, which takes a restart"/)
    expect(await statusOf(known.revoked)).toBe(401)
    expect(await statusOf(known.alice)).toBe(400)
  })
})
