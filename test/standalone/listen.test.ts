import { once } from 'node:events'
import { chmodSync, existsSync, linkSync, lstatSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { beforeEach, describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import { describeWith, needsIPv6, needsOpenssl, runs } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { exchange, killRequest } from '../support/raw.ts'
import { BUILT_FILE, startServer, TOKEN } from '../support/server.ts'
import { authority } from '../support/tls.ts'

const env = { PSYS_KILL_TOKEN: TOKEN }
const PORT = ['--port', '0']
const ask = async (url: string, headers: Record<string, string> = {}) =>
  (await exchange(url, killRequest('{}', headers))).status

let folder: ReturnType<typeof emptyFolder>
beforeEach(() => {
  folder = emptyFolder()
  return () => folder[Symbol.dispose]()
})

describeWith(['Linux'], 'the kernel says that it listens', () => {
  test.for<[args: string[], env: Record<string, string>, addresses: string[]]>([
    [PORT, {}, ['127.0.0.1']],
    [[...PORT, '--host', '127.0.0.2'], { PORT: '1', PSYS_KILL_HOST: '127.0.0.3' }, ['127.0.0.2']],
    [[], { PSYS_KILL_HOST: '127.0.0.3', PORT: '0' }, ['127.0.0.3']],
    [[...PORT, '--host', 'localhost'], {}, ['127.0.0.1', '[::1]']],
    [[...PORT, '--host', '0.0.0.0'], env, ['0.0.0.0']],
    [[...PORT, '--host', '[::1]'], {}, ['[::1]']],
    [[...PORT, '--host', '::'], env, ['[::]']],
  ])('with %j %j at one address of %j alone, and answers there', async ([args, more, addresses], context) => {
    if (addresses[0]?.includes('::')) needsIPv6(context)
    await using server = await startServer({ args, env: more })
    const { port } = new URL(server.url)
    const places = listeningPlaces(server.child.pid)
    expect(places).toHaveLength(1)
    expect(addresses.map((address) => `${address}:${port}`)).toContain(places[0])
    expect(await ask(`http://${places[0]}`)).toBe(more === env ? 401 : 400)
  })

  test.each<[args: string[], env: Record<string, string>, path: string]>([
    [['--socket', '127.0.0.1:80'], {}, './127.0.0.1:80'],
    [['--socket', '38080'], { PSYS_KILL_HOST: '0.0.0.0', PORT: '0' }, './38080'],
    [[], { PSYS_KILL_SOCKET: 's', PORT: '0' }, './s'],
  ])('with %j %j at that path alone', async (args, more, path) => {
    await using server = await startServer({ args, env: more, cwd: folder.path })
    expect(listeningPlaces(server.child.pid)).toEqual([path])
  })
})

describe('a socket', () => {
  test('serves any Host, requires the token if there is one, and is removed at a stop', async () => {
    const path = folder.file('socket')
    await using server = await startServer({ args: ['--socket', path], env })
    expect(server.url).toBe(path)
    using target = startSleeper()
    const body = JSON.stringify({ pid: target.pid })
    expect(await ask(path, { host: 'any.example' })).toBe(401)
    const headers = { host: 'any.example', authorization: `Bearer ${TOKEN}` }
    expect(await exchange(path, killRequest(body, headers))).toMatchObject({ status: 200, body: '{"ok":true}' })
    expect(await target.ended).toBe('SIGTERM')
    expect(await server.stop()).toBe(0)
    expect(existsSync(path)).toBe(false)
  })

  test.each([0o000, 0o077])('is for the owner and the group alone under umask %i', async (mask) => {
    const umask = process.umask(mask)
    try {
      await using server = await startServer({ args: ['--socket', folder.file('socket'), '--allow-host', 'a.example'] })
      expect(lstatSync(server.url).mode & 0o777).toBe(0o660)
      expect(server.stderr()).toBe('')
      expect([await ask(server.url, { host: 'a.example' }), await ask(server.url)]).toEqual([400, 403])
    } finally {
      process.umask(umask)
    }
  })

  test('is for the owner and the group alone in a cluster, whatever the mask of the primary is', async () => {
    const script = `const cluster = require('cluster')
      process.umask(0)
      cluster.setupPrimary({ exec: process.argv[1], args: process.argv.slice(2), execArgv: [] })
      const worker = cluster.fork()
      process.on('SIGTERM', () => worker.process.kill()).exitCode = 0`
    const command = [process.execPath, '-e', script, BUILT_FILE]
    await using server = await startServer({ command, args: ['--socket', folder.file('socket')] })
    expect(lstatSync(server.url).mode & 0o777).toBe(0o660)
  })

  // Which files count as stale is tested in test/node/unix-socket.test.ts.
  test('is taken over from a server that died, but not from one that lives, and never replaces a file', async () => {
    const start = () => startServer({ args: ['--socket', '38080'], cwd: folder.path })
    const path = folder.file('38080')
    writeFileSync(path, 'precious')
    await expect(start()).rejects.toThrow('./38080: ./38080 is not a socket; remove it or choose another path.\n')
    expect(readFileSync(path, 'utf8')).toBe('precious')
    renameSync(path, folder.file('file'))
    await using first = await start()
    await expect(start()).rejects.toThrow('./38080: ./38080 cannot be replaced: in use by another server.\n')
    expect(await ask(path)).toBe(400)
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    expect(lstatSync(path).isSocket()).toBe(true)
    await using _second = await start()
    expect(await ask(path)).toBe(400)
  })
})

/** Listens as systemd does: the process that it starts finds the socket as its descriptor 3. */
const listenFor = async (place: { host: string; port: number } | { path: string }) => {
  const listener = createServer().listen(place)
  await once(listener, 'listening')
  const fd = Number(Reflect.get(Object(Reflect.get(listener, '_handle')), 'fd'))
  const address = listener.address()
  const file = 'path' in place && !place.path.startsWith('\0') ? place.path : undefined
  /** Leaves the socket to the server, because this process would accept connections too. */
  const release = async () => {
    if (!listener.listening) return
    // Node removes the file of a socket that it closes.
    if (file) linkSync(file, `${file}-kept`)
    listener.close()
    await once(listener, 'close')
    if (file) renameSync(`${file}-kept`, file)
  }
  const port = typeof address === 'object' ? address?.port : undefined
  return { fd, port, release, [Symbol.dispose]: () => listener.close() }
}

const ACTIVATED = ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', 'sh', process.execPath, BUILT_FILE]
type Listener = Pick<Awaited<ReturnType<typeof listenFor>>, 'fd' | 'release'>
const activate = async ({ fd, release }: Listener, more: Record<string, string> = {}, args: readonly string[] = []) => {
  const server = await startServer({ command: ACTIVATED, args, env: { LISTEN_FDS: '1', ...more }, fd })
  await release()
  return server
}

describeWith(['Linux'], 'a socket of systemd', () => {
  test('on TCP is served for loopback names alone; beyond loopback it requires a token', async () => {
    using own = await listenFor({ host: '127.0.0.1', port: 0 })
    await using server = await activate(own)
    expect(server.url).toBe(`http://127.0.0.1:${own.port}`)
    expect([await ask(server.url, { host: 'evil.example' }), await ask(server.url)]).toEqual([403, 400])

    using every = await listenFor({ host: '0.0.0.0', port: 0 })
    await expect(activate(every)).rejects.toThrow(/1: psys-kill: To listen beyond loopback, set .+\.\n$/)
    await using withToken = await activate(every, env)
    expect(withToken.url).toBe(`http://0.0.0.0:${every.port}`)
    expect(await ask(withToken.url)).toBe(401)
  })

  test.each<[mode: number, why: string, more?: Record<string, string>]>([
    [0o660, ''],
    [0o702, 'its mode is 0702'],
    [0, 'it is abstract and has no mode'],
    [0o666, '', env],
  ])('of mode %i serves any Host, with a warning if it is public: %s', async (mode, why, more) => {
    const path = mode === 0 ? `\0${folder.path}` : folder.file('socket')
    using listener = await listenFor({ path })
    if (mode !== 0) chmodSync(path, mode)
    await using server = await activate(listener, more)
    expect(server.url).toBe('the socket of systemd')
    const warning = `^psys-kill: Every local user can now kill .+ through the socket, because ${why}: set a token, .+\\.\n$`
    expect(server.stderr()).toMatch(why === '' ? /^$/ : new RegExp(warning))
    if (mode !== 0) expect(await ask(path, { host: 'any.example' })).toBe(more ? 401 : 400)
  })

  test('that is a Unix socket has no TLS, and what is no socket is refused', async (context) => {
    needsOpenssl(context)
    using listener = await listenFor({ path: folder.file('socket') })
    const { certFile, keyFile } = authority(folder, 'ours').issue('server')
    await expect(activate(listener, {}, ['--tls-cert', certFile, '--tls-key', keyFile])).rejects.toThrow(
      /1: psys-kill: A Unix domain socket has no TLS; leave out --tls-….\n$/,
    )
    await expect(activate({ fd: 1, release: async () => {} })).rejects.toThrow(
      /1: psys-kill: Cannot listen on the socket of systemd: [^\n]+\.\n$/,
    )
  })

  test('is left to systemd when the server stops', async ({ skip }) => {
    skip(!runs('systemd-socket-activate', '--version'), 'needs systemd-socket-activate')
    const path = folder.file('socket')
    const command = ['systemd-socket-activate', '-l', path, process.execPath, BUILT_FILE]
    await using server = await startServer({ command, args: [], listening: /Listening on (\S+) as 3/ })
    expect(await ask(path)).toBe(400)
    expect(await server.stop()).toBe(0)
    expect(existsSync(path)).toBe(true)
  })
})
