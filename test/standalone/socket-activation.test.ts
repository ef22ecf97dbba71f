import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, linkSync, renameSync } from 'node:fs'
import { createServer } from 'node:net'
import { beforeEach, describe, expect, test } from 'vitest'
import { authority } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { needsLinux, needsOpenssl, runs } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { exchange, killRequest } from '../support/raw.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { messageOf, read, TOKEN } from '../support/settings.ts'

beforeEach(needsLinux)

/** Listens as systemd does: the process that it starts finds the socket as its descriptor 3. */
const listenFor = async (place: { host: string; port: number } | { path: string }) => {
  const listener = createServer().listen(place)
  await once(listener, 'listening')
  const handle: unknown = Reflect.get(listener, '_handle')
  const fd = Number(Reflect.get(Object(handle), 'fd'))
  const address = listener.address()
  /** Leaves the socket to whoever has it, as this process would take connections too. */
  const release = async () => {
    if (!listener.listening) return
    // Node removes the file of a socket that it closes.
    if ('path' in place) linkSync(place.path, `${place.path}-kept`)
    listener.close()
    await once(listener, 'close')
    if ('path' in place) renameSync(`${place.path}-kept`, place.path)
  }
  const port = typeof address === 'object' ? address?.port : undefined
  return { fd, port, release, [Symbol.dispose]: () => listener.close() }
}

const ACTIVATED = ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath, BUILT_FILE]
const start = async (
  { fd, release }: Pick<Awaited<ReturnType<typeof listenFor>>, 'fd' | 'release'>,
  { args = [], env = {} }: { args?: readonly string[]; env?: Record<string, string> } = {},
) => {
  const server = await startServer({ command: ACTIVATED, args, env: { LISTEN_FDS: '1', ...env }, fd })
  await release()
  return server
}

describe('a socket that is handed over', () => {
  test('on loopback is served, for loopback names alone', async () => {
    using listener = await listenFor({ host: '127.0.0.1', port: 0 })
    await using server = await start(listener)
    expect(server.url).toBe(`http://127.0.0.1:${listener.port}`)
    using target = startSleeper()
    const byAnotherName = killRequest(JSON.stringify({ pid: target.pid }), { host: 'evil.example' })
    expect(await exchange(server.url, byAnotherName)).toMatchObject({ status: 403 })
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('beyond loopback is not served without a token, and is with one', async () => {
    using listener = await listenFor({ host: '0.0.0.0', port: 0 })
    await expect(start(listener)).rejects.toThrow(
      /psys-kill: Listening on 0\.0\.0\.0 lets the network in: set a token [^\n]+\.\n$/,
    )
    await using server = await start(listener, { env: { PSYS_KILL_TOKEN: TOKEN } })
    expect(server.url).toBe(`http://0.0.0.0:${listener.port}`)
    expect(await server.kill({})).toMatchObject({ status: 401 })
  })

  test('that is a Unix socket is served, whatever the Host', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    using listener = await listenFor({ path })
    await using server = await start(listener)
    using target = startSleeper()
    const body = JSON.stringify({ pid: target.pid })
    const asked = ['--unix-socket', path, '-sS', '-H', 'Content-Type: application/json', '-d', body]
    const { stdout } = spawnSync('curl', [...asked, 'http://any.example/api/connections/kill'], { encoding: 'utf8' })
    expect(stdout).toBe('{"ok":true}')
    expect(await target.ended).toBe('SIGTERM')
    expect(await server.stop()).toBe(0)
  })

  test('that is a Unix socket has no TLS', async ({ skip }) => {
    needsOpenssl({ skip })
    using folder = emptyFolder()
    using listener = await listenFor({ path: folder.file('socket') })
    const { certFile, keyFile } = authority(folder, 'ours').issue('server')
    await expect(start(listener, { args: ['--tls-cert', certFile, '--tls-key', keyFile] })).rejects.toThrow(
      /psys-kill: A Unix socket \(of systemd\) has no TLS; leave out --tls-….\n$/,
    )
  })

  test.each([
    [{ args: ['--port', '0'] }, /^systemd hands over the socket \(LISTEN_FDS\): leave out /],
    [{ args: ['--host', '127.0.0.1'] }, /^systemd hands over the socket/],
    [{ args: ['--socket', '/nowhere/socket'] }, /^systemd hands over the socket/],
    [{ env: { LISTEN_FDS: '2' } }, /^systemd must hand over one socket, not 2: /],
    [{ env: { LISTEN_FDS: '0' } }, /^systemd must hand over one socket, not 0: /],
    [{ env: { LISTEN_FDS: '1x' } }, /^systemd must hand over one socket, not 1x: /],
  ])('does not start with %j', async (options, line) => {
    using listener = await listenFor({ host: '127.0.0.1', port: 0 })
    const said = await start(listener, options).then(
      () => 'it started',
      (error: Error) => error.message.split('psys-kill: ')[1] ?? '',
    )
    expect(said).toMatch(line)
    expect(said).toMatch(/^[^\n]+\.\n$/)
  })

  test('that is no socket is refused in one line', async () => {
    await expect(start({ fd: 1, release: async () => {} })).rejects.toThrow(
      /psys-kill: Cannot listen on the socket of systemd: [^\n]+\.\n$/,
    )
  })

  test('to another process is not taken for ours', async () => {
    const env = { LISTEN_FDS: '1', LISTEN_PID: '1' }
    await expect(startServer({ args: [], env })).rejects.toThrow(/psys-kill: LISTEN_FDS hands a socket to process 1, /)
    await using server = await startServer({ env })
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
  })
})

const mine = { LISTEN_FDS: '1', LISTEN_PID: String(process.pid) }
const theirs = { LISTEN_FDS: '1', LISTEN_PID: String(process.ppid) }

describe('LISTEN_FDS', () => {
  test('is obeyed, whatever the platform says in PORT', () => {
    expect(read([], { ...mine, PORT: '8080' }).fd).toBe(3)
  })

  test.each([
    [['--host', '127.0.0.1'], {}],
    [['--port', '0'], {}],
    [['--socket', '/run/s'], {}],
    [[], { PSYS_KILL_HOST: '127.0.0.1' }],
    [[], { PSYS_KILL_SOCKET: '/run/s' }],
  ])('contradicts %j %j', (args, env) => {
    expect(messageOf(args, { ...mine, ...env })).toContain('leave out --host, --port and --socket.')
  })

  test('and is for another process, is not replaced by a port that every user may connect to', () => {
    expect(messageOf([], theirs)).toContain(`hands a socket to process ${process.ppid}`)
    expect(messageOf([], { LISTEN_FDS: '1' })).toContain('hands a socket to process undefined')
    expect(read(['--port', '0'], theirs).fd).toBeUndefined()
    expect(read([], { LISTEN_PID: mine.LISTEN_PID }).fd).toBeUndefined()
  })
})

test('the server that systemd-socket-activate starts leaves the socket to systemd when it stops', async ({ skip }) => {
  skip(!runs('systemd-socket-activate', '--version'), 'needs systemd-socket-activate')
  using folder = emptyFolder()
  const path = folder.file('socket')
  await using server = await startServer({
    command: ['systemd-socket-activate', '-l', path],
    args: [process.execPath, BUILT_FILE],
    listening: /Listening on (\S+) as 3/,
  })
  using target = startSleeper()
  const answer = await exchange(path, killRequest(JSON.stringify({ pid: target.pid }), { host: 'any.example' }))
  expect(answer).toMatchObject({ status: 200, body: '{"ok":true}' })
  expect(await target.ended).toBe('SIGTERM')
  expect(await server.stop()).toBe(0)
  expect(existsSync(path)).toBe(true)
})
