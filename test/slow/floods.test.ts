import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { type ConnectionOptions, connect as connectTls } from 'node:tls'
import { expect, test, vi } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { describeWith, needsOpenssl } from '../support/needs.ts'
import { startTarget } from '../support/processes.ts'
import { exchange, killRequest, openRaw } from '../support/raw.ts'
import { BUILT_FILE, type RunningServer, startServer } from '../support/server.ts'
import { type Asking, askTls, authority, type Identity, LOOPBACK, openTls } from '../support/tls.ts'

const PEAK_MB = 200
/** More than there are places. */
const CLIENTS = 1000

/** This Node with the flags of the units. */
const unit = readFileSync(new URL('../../build/psys-kill.service', import.meta.url), 'utf8')
const [, flags = ''] = /^ExecStart=node (.*) \S+\.cjs/m.exec(unit) ?? []
const COMMAND = [process.execPath, ...flags.split(' '), BUILT_FILE]

const start = (...args: readonly string[]) => startServer({ command: COMMAND, args: ['--port', '0', ...args] })

/** It has survived, and never took too much memory. */
const expectWell = ({ child }: RunningServer, what: string) => {
  expect([child.exitCode, child.signalCode]).toEqual([null, null])
  const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
  const peak = Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1]) / 1024
  console.log(`${what}: ${peak.toFixed(0)} MB at most`)
  expect(peak).toBeLessThan(PEAK_MB)
}

/** An authority, and the settings of a server with its certificate. */
const certify = (folder: ReturnType<typeof emptyFolder>) => {
  const ours = authority(folder, 'ours')
  const { certFile, keyFile } = ours.issue('server', LOOPBACK)
  return { ours, args: ['--tls-cert', certFile, '--tls-key', keyFile] }
}

/** A client that sends some bytes at once, whatever becomes of it. */
const send = ({ url }: RunningServer, bytes: string | Buffer) => {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.on('error', () => {})
  socket.write(bytes)
  return socket.resume()
}

/** Clients in waves, each wave when the one before has connected. All stay until the end. */
const inWaves = async (clients: Set<Socket>, count: number, open: () => Socket) => {
  for (let opened = 0; opened < count; opened += 100) {
    const wave = Array.from({ length: 100 }, open)
    for (const client of wave) clients.add(client)
    await Promise.all(wave.map((client) => once(client, 'connect').catch(() => {})))
  }
}

const allClosed = (clients: Set<Socket>) =>
  Promise.all([...clients].map((client) => client.closed || new Promise((resolve) => client.once('close', resolve))))

/** Clients whose bytes all come in one turn of the server's event loop. */
const atOnce = async (clients: Set<Socket>, server: RunningServer, open: () => Socket) => {
  server.child.kill('SIGSTOP')
  await inWaves(clients, CLIENTS, open)
  server.child.kill('SIGCONT')
}

/** Asks again until there is an answer: a connection may have to make way. */
const askHonestly = async ({ url }: RunningServer) => {
  for (;;) {
    const answer = await exchange(url, killRequest('{"pid":0}')).catch(() => undefined)
    if (answer?.body) return expect(answer).toMatchObject({ status: 400, body: '{"error":"Invalid pid"}' })
  }
}

const HEAD = 'POST /api/connections/kill HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
const TINY = 'a:b\r\n'.repeat(90)
const GET = 'GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n'
/** 64 kB of tiny requests. */
const PACKET = GET.repeat(65_536 / GET.length)
/** As many requests with a body that nobody reads. */
const UNREAD = 'POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx'.repeat(11_000)
/** A head of 15.8 kB that has no end. */
const ENDLESS = `${HEAD}${'a:b\r\n'.repeat(3140)}`
const LONG = `x: ${'x'.repeat(15_000)}\r\n`
const CHUNKS = `Transfer-Encoding: chunked\r\n\r\n${'1\r\n \r\n'.repeat(500)}`
const BODY = `Content-Length: 4096\r\n\r\n${' '.repeat(4095)}`

describeWith(['Linux'], 'a flood of', () => {
  type Flood = (server: RunningServer, clients: Set<Socket>) => Promise<void>
  const unfinished = (bytes: string, count = 2 * CLIENTS): Flood => {
    return (server, clients) => inWaves(clients, count, () => send(server, bytes))
  }
  const packets = (bytes: string): Flood => {
    return (server, clients) => atOnce(clients, server, () => send(server, bytes).pause())
  }

  /** Each client sends the next byte of its body as soon as the one before is on its way, until the server has enough. */
  const drip: Flood = async (server, clients) => {
    const open = () => {
      const client = send(server, `${HEAD}${TINY}Content-Length: 4096\r\n\r\n`).setNoDelay()
      const next = () => client.writable && client.write(' ', () => setImmediate(next))
      return client.once('connect', next)
    }
    // As many as there are places, so that none makes way.
    await inWaves(clients, 700, open)
    await allClosed(clients)
  }

  test.each<[what: string, flood: Flood]>([
    ['unfinished heads', unfinished(ENDLESS)],
    ['unfinished bodies behind tiny headers', unfinished(HEAD + TINY + BODY)],
    ['unfinished bodies behind a long header', unfinished(HEAD + LONG + BODY, 5 * CLIENTS)],
    ['unfinished bodies in tiny chunks', unfinished(HEAD + CHUNKS, CLIENTS)],
    ['packets of requests that are answered before their bodies are read', packets(UNREAD)],
    ['bodies that drip', drip],
    ['packets of tiny requests', packets(PACKET)],
    [
      'clients that never read an answer',
      async (server, clients) => {
        await inWaves(clients, CLIENTS, () => send(server, GET).pause())
        for (let round = 0; round < 20; round++) {
          await askHonestly(server)
          for (const client of clients) client.write(GET)
        }
        await inWaves(clients, CLIENTS, () => send(server, PACKET).pause())
      },
    ],
  ])('%s', async (what, flood) => {
    await using server = await start()
    const clients = new Set<Socket>()
    let isOver = false
    const askOn = async () => {
      while (!isOver) await askHonestly(server)
    }
    const asking = askOn()
    await flood(server, clients)
    // They are all still there.
    await askHonestly(server)
    isOver = true
    await asking
    for (const client of clients) client.destroy()
    expectWell(server, what)
  })

  test('pipelined kills that wait: each connection gets one in, whose wait ends', async () => {
    await using server = await start()
    using deaf = await startTarget('process.on("SIGTERM", () => {})')
    const kill = killRequest(JSON.stringify({ pid: deaf.pid, waitMs: 60_000 }), { connection: '' })
    const packet = Buffer.concat(Array.from({ length: 400 }, () => kill))
    const clients = new Set<Socket>()
    await atOnce(clients, server, () => send(server, packet))
    await allClosed(clients)
    await askHonestly(server)
    const count = (outcome: string) => server.records.filter((record) => record['outcome'] === outcome).length
    await vi.waitFor(() => expect(count('running')).toBe(count('sent')))
    expect(count('sent')).toBeGreaterThan(0)
    expect(count('sent') + count('too many waits')).toBeLessThanOrEqual(CLIENTS)
    expectWell(server, 'pipelined kills')
  })
})

describeWith(['Linux', 'openssl'], 'over TLS, a flood of', () => {
  /** What a client sends first. */
  const helloOf = (options: ConnectionOptions) =>
    new Promise<Buffer>((resolve) => {
      const socket = new Duplex({ read: () => {}, write: (hello) => resolve(hello) })
      connectTls({ ...options, socket }).on('error', () => {})
    })
  const over = (server: RunningServer, options: ConnectionOptions, bytes: string) => {
    const port = Number(new URL(server.url).port)
    const client = connectTls({ host: '127.0.0.1', port, rejectUnauthorized: false, ...options })
    client.on('error', () => {})
    client.once('secureConnect', () => client.write(bytes))
    return client.resume()
  }
  const beginning = Buffer.concat([Buffer.from('1603014000', 'hex'), Buffer.alloc(10_000, 1)])

  test.each<[what: string, open: (server: RunningServer, known: { hello: Buffer; fat: Identity }) => Socket]>([
    ['half handshakes', (server, { hello }) => send(server, hello)],
    ['the beginnings of a handshake of 16 kB', (server) => send(server, beginning)],
    ['unfinished heads', (server) => over(server, {}, ENDLESS)],
    ['unfinished bodies', (server) => over(server, {}, HEAD + TINY + BODY)],
    ['packets of tiny requests', (server) => over(server, {}, PACKET)],
    ['fat certificates', (server, { fat }) => over(server, fat, ENDLESS)],
  ])('%s', async (what, open) => {
    using folder = emptyFolder()
    const { ours, args } = certify(folder)
    // A longer one does not fit into the ticket of its session.
    const fat = authority(folder, 'others').issue('fat', { alternative: `DNS:${'a'.repeat(64_000)}` })
    // With it, there are fewer places.
    const clientCa = what === 'fat certificates' ? ['--tls-client-ca', ours.caFile] : []
    await using server = await start(...args, ...clientCa)
    const client = { ca: ours.ca, ...ours.issue('alice') }
    const agent = new Agent({ ...client, keepAlive: true, maxSockets: 1 })
    const ask = (options: Asking) => askTls(server.url, client, { body: { pid: 0 }, ...options })
    const known = { hello: await helloOf(client), fat }
    const clients = new Set<Socket>()
    // Newcomers may be refused while all places are taken; who is there is answered.
    expect(await ask({ agent })).toMatchObject({ status: 400 })
    for (let wave = 0; wave < 10; wave++) {
      await inWaves(clients, 100, () => open(server, known))
      expect(await ask({ agent })).toMatchObject({ status: 400 })
    }
    for (const each of clients) each.destroy()
    agent.destroy()
    await vi.waitFor(async () => expect(await ask({})).toMatchObject({ status: 400 }), 20_000)
    expectWell(server, `TLS, ${what}`)
  })
})

test('a client that keeps the server waiting is dropped: after 5 s, or 10 s if its head is complete', async (context) => {
  needsOpenssl(context)
  using folder = emptyFolder()
  const { ours, args } = certify(folder)
  await using server = await start()
  await using secure = await start(...args)
  /** Sends some bytes, and others one by one each second. Returns the seconds until the end, and the answer. */
  const last = async (opening: ReturnType<typeof openRaw | typeof openTls>, bytes = '', slowly = '') => {
    using connection = await opening
    const { socket, closed } = connection
    const start = performance.now()
    socket.write(bytes)
    const rest = [...slowly]
    const drip = setInterval(() => socket.write(rest.shift() ?? ''), 1000)
    const text = await closed
    clearInterval(drip)
    return [(performance.now() - start) / 1000, text.slice(0, 12)] as const
  }
  const plain = (...bytes: string[]) => last(openRaw(server.url), ...bytes)
  const timeout = 'HTTP/1.1 408'
  const clients: [least: number, answer: string, ended: ReturnType<typeof last>][] = [
    [4, timeout, plain()],
    [4, timeout, plain('', HEAD.repeat(9))],
    [9, timeout, plain(`${HEAD}Content-Length: 99\r\n\r\n`, ' '.repeat(99))],
    [4, 'HTTP/1.1 200', plain('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')],
    [4, '', last(openRaw(secure.url))],
    [4, timeout, last(openTls(secure.url, { ca: ours.ca }))],
  ]
  for (const [least, answer, ended] of clients) {
    const [seconds, text] = await ended
    expect(text).toBe(answer)
    expect(seconds).toBeGreaterThan(least)
    expect(seconds).toBeLessThan(10 * least)
  }
})
