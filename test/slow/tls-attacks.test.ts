import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { renameSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { createConnection, createServer as netServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOptions, connect } from 'node:tls'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { authority, type Identity, LOOPBACK } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { startSleeper } from '../support/processes.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { askTls, openTls } from '../support/tls.ts'

const folder = emptyFolder()
afterAll(() => folder[Symbol.dispose]())
const make = () => {
  const ours = authority(folder, 'ours')
  const others = authority(folder, 'others')
  return { ours, others, server: ours.issue('server', LOOPBACK), alice: ours.issue('alice'), bob: others.issue('bob') }
}
let k: ReturnType<typeof make>
beforeAll(() => {
  k = make()
})
const client = (who?: Identity, more: ConnectionOptions = {}): ConnectionOptions => ({
  ca: k.ours.ca,
  ...(who && { cert: who.cert, key: who.key }),
  ...more,
})
const start = (args: readonly string[] = []) =>
  startServer({ args: ['--port', '0', '--tls-cert', k.server.certFile, '--tls-key', k.server.keyFile, ...args] })
const raw = (pid: number, more = '') => {
  const body = JSON.stringify({ pid })
  return `POST /api/connections/kill HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`
}
const reload = async (s: Awaited<ReturnType<typeof start>>) => {
  const from = s.stdout().length
  s.child.kill('SIGHUP')
  await s.says(/"message":"(not )?reloaded/, from)
}

test('keep-alive stays over TLS', async () => {
  await using s = await start()
  const agent = new Agent({ ...client(), keepAlive: true })
  for (let i = 0; i < 3; i++) expect((await askTls(s.url, {}, { agent })).connection).not.toBe('close')
  agent.destroy()
})

test.each(['TLSv1.2', 'TLSv1.3'] as const)(
  'a %s session of before the reload does not bring back an old CA',
  async (v) => {
    const list = folder.file(`ca-${v}`)
    writeFileSync(list, k.ours.ca)
    await using s = await start(['--tls-client-ca', list])
    using canary = startSleeper()
    const { port } = new URL(s.url)
    const opts = { host: '127.0.0.1', port: Number(port), ...client(k.alice), minVersion: v, maxVersion: v }
    let session: Buffer | undefined
    const first = connect(opts)
    first.on('session', (x) => {
      session = x
    })
    await once(first, 'secureConnect')
    first.write(raw(0, 'Connection: close\r\n'))
    first.resume()
    await once(first, 'close')
    expect(session).toBeDefined()
    // control: resumes before the reload, and is alice
    const control = connect({ ...opts, session: session as Buffer })
    await once(control, 'secureConnect')
    expect(control.isSessionReused()).toBe(true)
    control.write(raw(0, 'Connection: close\r\n'))
    const [c] = await once(control, 'data')
    expect(String(c)).toContain(' 400 ')
    writeFileSync(list, k.others.ca)
    await reload(s)
    const again = connect({ ...opts, session: session as Buffer })
    await once(again, 'secureConnect')
    again.write(raw(canary.pid, 'Connection: close\r\n'))
    const [d] = await once(again, 'data')
    expect(String(d)).toContain(' 401 ')
    expect(canary.isAlive()).toBe(true)
  },
)

/** A TCP relay that can hold back what the client sends. */
const relay = async (port: number) => {
  let held: Buffer[] | undefined
  let up: ReturnType<typeof createConnection> | undefined
  const server = netServer((down) => {
    up = createConnection(port, '127.0.0.1')
    const u = up
    let n = 0
    down.on('data', (d) => {
      if (n++ >= 1 && held) held.push(d)
      else u.write(d)
    })
    u.on('data', (d) => down.write(d))
    u.on('close', () => down.destroy())
    down.on('close', () => u.destroy())
    u.on('error', () => {})
    down.on('error', () => {})
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const a = server.address()
  return {
    port: typeof a === 'object' ? a?.port : 0,
    hold: () => {
      held = []
    },
    go: () => {
      for (const h of held ?? []) up?.write(h)
      held = undefined
    },
    close: () => server.close(),
  }
}

test.each([100, 900])('a handshake that began before the reload and ends %d ms after it', async (ms) => {
  const list = folder.file(`ca-c${ms}`)
  writeFileSync(list, k.ours.ca)
  await using s = await start(['--tls-client-ca', list])
  using canary = startSleeper()
  const r = await relay(Number(new URL(s.url).port))
  r.hold()
  const sock = connect({ host: '127.0.0.1', port: r.port, ...client(k.alice), maxVersion: 'TLSv1.3' })
  sock.on('error', () => {})
  let text = ''
  sock.on('data', (d) => {
    text += d
  })
  const closed = new Promise((res) => sock.once('close', res))
  sock.once('secureConnect', () => sock.write(raw(canary.pid)))
  await sleep(200)
  writeFileSync(list, k.others.ca)
  s.child.kill('SIGHUP')
  await sleep(ms)
  r.go()
  await closed
  if (ms > 600) {
    expect(text).toBe('')
    expect(canary.isAlive()).toBe(true)
  }
  r.close()
})

test('no request fails: new connections and kept ones through ten reloads', async () => {
  const list = folder.file('ca-d')
  writeFileSync(list, k.ours.ca)
  await using s = await start(['--tls-client-ca', list])
  let done = false
  const codes = new Map<string, number>()
  const lane = async (keepAlive: boolean) => {
    const agent = keepAlive ? new Agent({ ...client(k.alice), keepAlive: true, maxSockets: 1 }) : undefined
    while (!done) {
      const code = await askTls(
        s.url,
        client(k.alice),
        agent ? { agent, body: { pid: 0 } } : { body: { pid: 0 } },
      ).then(
        ({ status }) => String(status),
        (e) => String(e.code ?? e),
      )
      codes.set(code, (codes.get(code) ?? 0) + 1)
    }
    agent?.destroy()
  }
  const lanes = [lane(true), lane(true), lane(true), lane(false), lane(false)]
  for (let i = 0; i < 10; i++) {
    s.child.kill('SIGHUP')
    await sleep(350)
  }
  done = true
  await Promise.all(lanes)
  expect([...codes.keys()]).toEqual(['400'])
})

test('a revoked client that pipelines waits gets no kill in after the reload', async () => {
  const list = folder.file('ca-e')
  writeFileSync(list, k.ours.ca)
  await using s = await start(['--tls-client-ca', list])
  using deaf = await startTarget(`process.on('SIGTERM', () => {})`)
  using canary = startSleeper()
  using c = await openTls(s.url, client(k.alice))
  const w = JSON.stringify({ pid: deaf.pid, waitMs: 2500 })
  c.socket.write(
    `POST /api/connections/kill HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${w.length}\r\n\r\n${w}`,
  )
  await s.record(({ pid }) => pid === deaf.pid)
  writeFileSync(list, k.others.ca)
  s.child.kill('SIGHUP')
  await sleep(100)
  c.socket.write(raw(canary.pid))
  await sleep(900)
  c.socket.write(raw(canary.pid))
  const text = await c.closed
  expect(text.match(/HTTP\/1.1 \d+/g)).toEqual(['HTTP/1.1 200'])
  expect(canary.isAlive()).toBe(true)
})

test('a pipe put in place of the token file holds up no reload', async () => {
  const file = folder.file('tokens')
  writeFileSync(file, 'alice:the-token-of-alice\n', { mode: 0o600 })
  await using s = await startServer({ args: ['--port', '0', '--token-file', file] })
  execFileSync('mkfifo', [`${file}.p`])
  renameSync(`${file}.p`, file)
  await reload(s)
  expect(s.stdout()).toContain('not reloaded: The token file')
  expect((await s.kill({ pid: 0 }, { authorization: 'Bearer the-token-of-alice' })).status).toBe(400)
})

test('a hundred clients that never shake hands: others are served, they are dropped in time, a stop is quick', async () => {
  await using s = await start()
  const { port } = new URL(s.url)
  const idle = Array.from({ length: 100 }, () => createConnection(Number(port), '127.0.0.1'))
  const t = performance.now()
  const gone = Promise.all(
    idle.map((x) =>
      once(
        x.on('error', () => {}),
        'close',
      ).catch(() => {}),
    ),
  )
  for (const x of idle) x.resume()
  expect((await askTls(s.url, client(), { path: '/healthz', method: 'GET', body: '' })).status).toBeLessThan(500)
  await gone
  expect(performance.now() - t).toBeLessThan(20_000)
  const more = Array.from({ length: 50 }, () =>
    createConnection(Number(port), '127.0.0.1')
      .on('error', () => {})
      .resume(),
  )
  await Promise.all(more.map((x) => once(x, 'connect')))
  const u = performance.now()
  expect(await s.stop()).toBe(0)
  expect(performance.now() - u).toBeLessThan(5000)
})

test('fifty SIGHUPs at once leave it as it was', async () => {
  await using s = await start()
  for (let i = 0; i < 50; i++) s.child.kill('SIGHUP')
  await reload(s)
  await sleep(1200)
  expect((await askTls(s.url, client())).status).toBe(400)
  s.child.kill('SIGHUP')
  s.child.kill('SIGTERM')
  s.child.kill('SIGHUP')
  const [code] = await once(s.child, 'exit')
  expect(code).toBe(0)
})

test('a common name that would forge a record is escaped', async () => {
  const evil = k.ours.issue('evil', { subject: '/CN=a","outcome":"sent","x":"é/O=o' })
  await using s = await start(['--tls-client-ca', k.ours.caFile])
  expect((await askTls(s.url, client(evil), { body: { pid: 0 } })).status).toBe(400)
  const r = await s.record(({ outcome }) => outcome === 'refused')
  expect(r['by']).toMatch(/^a","outcome":"sent"/)
})

test('plain HTTP, garbage and a cut handshake do not take it down', async () => {
  await using s = await start(['--tls-client-ca', k.ours.caFile])
  const { port } = new URL(s.url)
  for (const bytes of [
    'GET / HTTP/1.1\r\nHost: localhost\r\n\r\n',
    '\0\0\0',
    '\x16\x03\x01\x02\x00\x01',
    'x'.repeat(70000),
  ]) {
    const x = createConnection(Number(port), '127.0.0.1').on('error', () => {})
    x.write(Buffer.from(bytes, 'latin1'))
    x.resume()
    await Promise.race([once(x, 'close').catch(() => {}), sleep(300)])
    x.destroy()
  }
  expect((await askTls(s.url, client(k.alice))).status).toBe(400)
  expect(s.stderr()).toBe('')
})

test('with lists of revoked certificates, an authority without one is out', async () => {
  const list = folder.file('ca-k')
  const crl = k.ours.revoke(k.ours.issue('gone'))
  writeFileSync(list, k.ours.ca + k.others.ca + crl)
  await using s = await start(['--tls-client-ca', list])
  console.log(
    'K ours',
    (await askTls(s.url, client(k.alice))).status,
    'others (no CRL of theirs)',
    (await askTls(s.url, client(k.bob))).status,
  )
})

test('with a terminal on standard input SIGHUP stops it', async () => {
  const file = folder.file('tty-tokens')
  writeFileSync(file, 'alice:the-token-of-alice\n', { mode: 0o600 })
  const child = spawn(
    'script',
    ['-qec', `${process.execPath} ${BUILT_FILE} --port 0 --token-file ${file}`, '/dev/null'],
    { stdio: ['pipe', 'pipe', 'inherit'], env: { PATH: process.env['PATH'] ?? '' } },
  )
  let out = ''
  child.stdout.on('data', (d) => {
    out += d
  })
  while (!out.includes('listening on')) await sleep(20)
  const kids = execFileSync('ps', ['--ppid', String(child.pid), '-o', 'pid='], { encoding: 'utf8' })
    .trim()
    .split(/\s+/)
  const own = Number(kids[0])
  process.kill(own, 'SIGHUP')
  await once(child, 'exit')
  expect(out).toContain('stopping on SIGHUP')
})
