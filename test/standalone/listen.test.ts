import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  linkSync,
  lstatSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { beforeEach, describe, expect, test } from 'vitest'
import { authority } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import { describeWith, needsIPv6, needsOpenssl, needsRoot, runs } from '../support/needs.ts'
import { startCommand, startSleeper } from '../support/processes.ts'
import { exchange, killRequest } from '../support/raw.ts'
import { runToEnd } from '../support/run.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { TOKEN } from '../support/token.ts'

const env = { PSYS_KILL_TOKEN: TOKEN }
const PORT = ['--port', '0']
/** What the server warns of if every local user can connect. The test may be root, or not. */
const OPEN = 'Every local user can now kill any( of your)? process(es)?'

let folder: ReturnType<typeof emptyFolder>
beforeEach(() => {
  folder = emptyFolder()
  return () => folder[Symbol.dispose]()
})

describeWith(['Linux'], 'the kernel says that it listens', () => {
  test('for every kind of socket (a test of the tests)', async () => {
    const script = `
      const listen = (place) => require('net').createServer().listen(place)
      const udp = require('dgram').createSocket('udp4').bind(0, '0.0.0.0')
      const sockets = [listen({ host: '0.0.0.0', port: 0 }), listen({ host: '127.0.0.1', port: 0 }), udp]
      const all = [...sockets, listen({ path: process.argv[1] })]
      Promise.all(all.map((socket) => require('events').once(socket, 'listening'))).then(() =>
        console.log(JSON.stringify(sockets.map((socket) => socket.address().port))))`
    using program = await startCommand([process.execPath, '-e', script, folder.file('socket')])
    const [any, loopback, udp]: number[] = JSON.parse(program.said)
    const places = [`0.0.0.0:${any}`, `127.0.0.1:${loopback}`, `0.0.0.0:${udp}`, folder.file('socket')]
    expect(listeningPlaces(program.child.pid).sort()).toEqual(places.sort())
  })

  test.for<[args: string[], env: Record<string, string>, address: string, other?: string]>([
    [PORT, {}, '127.0.0.1'],
    [PORT, env, '127.0.0.1'],
    [[...PORT, '--allow-host', 'a.example'], {}, '127.0.0.1'],
    [[...PORT, '--host', '127.0.0.2'], { PORT: '1', PSYS_KILL_HOST: '127.0.0.3' }, '127.0.0.2'],
    [[], { PSYS_KILL_HOST: '127.0.0.3', PORT: '0' }, '127.0.0.3'],
    [[...PORT, '--host', 'localhost'], {}, '127.0.0.1', '[::1]'],
    [[...PORT, '--host', '0.0.0.0'], env, '0.0.0.0'],
    [[...PORT, '--host', '::1'], {}, '[::1]'],
    [[...PORT, '--host', '[::1]'], {}, '[::1]'],
    [[...PORT, '--host', '::'], env, '[::]'],
  ])('with %j %j at %s alone', async ([args, more, ...addresses], context) => {
    if (addresses[0]?.includes('::')) needsIPv6(context)
    await using server = await startServer({ args, env: more })
    const { port } = new URL(server.url)
    const [place, ...others] = listeningPlaces(server.child.pid)
    expect(others).toEqual([])
    expect(addresses.map((address) => `${address}:${port}`)).toContain(place)
    const answer = await exchange(`http://${place}`, killRequest('{}'))
    expect(answer).toMatchObject({ status: more === env ? 401 : 400 })
  })

  test.each<[args: string[], env: Record<string, string>, path: string]>([
    [['--socket', '38080'], {}, './38080'],
    [['--socket', '0'], {}, './0'],
    [['--socket', '127.0.0.1:80'], {}, './127.0.0.1:80'],
    [[], { PSYS_KILL_SOCKET: 's', PORT: '0' }, './s'],
    [['--socket', 's'], { PSYS_KILL_HOST: '0.0.0.0', PORT: '0' }, './s'],
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
    expect(await exchange(path, killRequest(body, { host: 'any.example' }))).toMatchObject({ status: 401 })
    const authorization = `Bearer ${TOKEN}`
    const answer = await exchange(path, killRequest(body, { host: 'any.example', authorization }))
    expect(answer).toMatchObject({ status: 200, body: '{"ok":true}' })
    expect(await target.ended).toBe('SIGTERM')
    expect(await server.stop()).toBe(0)
    expect(existsSync(path)).toBe(false)
    expect(server.stderr()).toBe('')
  })

  test('serves only the hosts that are allowed, if some are', async () => {
    const args = ['--socket', folder.file('socket'), '--allow-host', 'kill.example']
    await using server = await startServer({ args })
    const ask = (host: string) => exchange(server.url, killRequest('{}', { host }))
    expect(await ask('kill.example')).toMatchObject({ status: 400 })
    expect(await ask('localhost')).toMatchObject({ status: 403 })
  })

  test.each([0o000, 0o022, 0o077])('is for the owner and the group alone under umask %i', async (mask) => {
    const umask = process.umask(mask)
    try {
      await using server = await startServer({ args: ['--socket', folder.file('socket')] })
      expect(lstatSync(server.url).mode & 0o777).toBe(0o660)
      expect(server.stderr()).toBe('')
    } finally {
      process.umask(umask)
    }
  })

  test('lets another user of its group connect, and no one else', async (context) => {
    needsRoot(context)
    chmodSync(folder.path, 0o755)
    await using server = await startServer({ args: ['--socket', folder.file('socket')], gid: 65_534 })
    const script = `require('net').connect(process.argv[1]).on('connect', () => process.exit(0)).on('error', () => process.exit(1))`
    const codeAs = async (gid: number) => {
      const options = { uid: 65_534, gid, stdio: 'ignore', cwd: '/' } as const
      const [code] = await once(spawn(process.execPath, ['-e', script, server.url], options), 'exit')
      return code
    }
    expect(await codeAs(65_533)).toBe(1)
    expect(await codeAs(65_534)).toBe(0)
  })

  test('is left to the server that has it, and taken over from one that died', async () => {
    const options = { args: ['--socket', '38080'], cwd: folder.path }
    await using first = await startServer(options)
    await expect(startServer(options)).rejects.toThrow(
      'psys-kill: Cannot listen on ./38080: ./38080 is in use by another server.\n',
    )
    expect(await exchange(folder.file('38080'), killRequest('{}'))).toMatchObject({ status: 400 })
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    expect(lstatSync(folder.file('38080')).isSocket()).toBe(true)
    await using _second = await startServer(options)
    expect(await exchange(folder.file('38080'), killRequest('{}'))).toMatchObject({ status: 400 })
  })

  test('never replaces a file or a link', async () => {
    writeFileSync(folder.file('file'), 'precious')
    symlinkSync(folder.file('file'), folder.file('link'))
    for (const name of ['file', 'link']) {
      const { code, stderr } = await runToEnd(['--socket', folder.file(name)])
      expect(code).toBe(1)
      expect(stderr).toMatch(/^psys-kill: Cannot listen on .+ is not a socket; remove it or choose another path\.\n$/)
    }
    expect(readFileSync(folder.file('file'), 'utf8')).toBe('precious')
    expect(lstatSync(folder.file('link')).isSymbolicLink()).toBe(true)
  })
})

/** Listens as systemd does: the process that it starts finds the socket as its descriptor 3. */
const listenFor = async (place: { host: string; port: number } | { path: string }) => {
  const listener = createServer().listen(place)
  await once(listener, 'listening')
  const fd = Number(Reflect.get(Object(Reflect.get(listener, '_handle')), 'fd'))
  const address = listener.address()
  const port = typeof address === 'object' ? address?.port : undefined
  /** Leaves the socket to the server, because this process would accept connections too. */
  const release = async () => {
    if (!listener.listening) return
    // Node removes the file of a socket that it closes.
    if ('path' in place && !place.path.startsWith('\0')) linkSync(place.path, `${place.path}-kept`)
    listener.close()
    await once(listener, 'close')
    if ('path' in place && !place.path.startsWith('\0')) renameSync(`${place.path}-kept`, place.path)
  }
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
  test('on loopback is served, for loopback names alone', async () => {
    using listener = await listenFor({ host: '127.0.0.1', port: 0 })
    await using server = await activate(listener)
    expect(server.url).toBe(`http://127.0.0.1:${listener.port}`)
    using target = startSleeper()
    const body = JSON.stringify({ pid: target.pid })
    expect(await exchange(server.url, killRequest(body, { host: 'evil.example' }))).toMatchObject({ status: 403 })
    expect(await exchange(server.url, killRequest(body))).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('beyond loopback requires a token', async () => {
    using listener = await listenFor({ host: '0.0.0.0', port: 0 })
    await expect(activate(listener)).rejects.toThrow(
      /1: psys-kill: Listening on 0\.0\.0\.0 lets the network in: [^\n]+\.\n$/,
    )
    await using server = await activate(listener, env)
    expect(server.url).toBe(`http://0.0.0.0:${listener.port}`)
    expect(await server.kill({})).toMatchObject({ status: 401 })
  })

  test.each<[mode: number | 'abstract', why: string | undefined]>([
    [0o660, undefined],
    [0o666, 'because its mode is 0666'],
    [0o702, 'because its mode is 0702'],
    ['abstract', 'because it is abstract and has no mode'],
  ])('that is a Unix socket, mode %o, is served to any Host, with a warning if it is public', async (mode, why) => {
    const path = mode === 'abstract' ? `\0${folder.path}` : folder.file('socket')
    using listener = await listenFor({ path })
    if (mode !== 'abstract') chmodSync(path, mode)
    await using server = await activate(listener)
    expect(server.url).toBe('the socket of systemd')
    if (why === undefined) expect(server.stderr()).toBe('')
    else
      expect(server.stderr()).toMatch(
        new RegExp(`^psys-kill: ${OPEN} through the socket, ${why}: set a token, .+\\.\n$`),
      )
    // A name that begins with a slash is a path to `exchange`.
    if (mode !== 'abstract')
      expect(await exchange(path, killRequest('{}', { host: 'any.example' }))).toMatchObject({ status: 400 })
    expect(await server.stop()).toBe(0)
  })

  test('that is public is no warning with a token', async () => {
    using listener = await listenFor({ path: folder.file('socket') })
    chmodSync(folder.file('socket'), 0o666)
    await using server = await activate(listener, env)
    expect(server.stderr()).toBe('')
  })

  test('that is a Unix socket has no TLS', async (context) => {
    needsOpenssl(context)
    using listener = await listenFor({ path: folder.file('socket') })
    const { certFile, keyFile } = authority(folder, 'ours').issue('server')
    await expect(activate(listener, {}, ['--tls-cert', certFile, '--tls-key', keyFile])).rejects.toThrow(
      /1: psys-kill: A Unix domain socket has no TLS; leave out --tls-….\n$/,
    )
  })

  test('that is no socket is refused in one line', async () => {
    await expect(activate({ fd: 1, release: async () => {} })).rejects.toThrow(
      /1: psys-kill: Cannot listen on the socket of systemd: [^\n]+\.\n$/,
    )
  })

  test('is left to systemd when the server stops', async ({ skip }) => {
    skip(!runs('systemd-socket-activate', '--version'), 'needs systemd-socket-activate')
    const path = folder.file('socket')
    await using server = await startServer({
      command: ['systemd-socket-activate', '-l', path],
      args: [process.execPath, BUILT_FILE],
      listening: /Listening on (\S+) as 3/,
    })
    expect(await exchange(path, killRequest('{}', { host: 'any.example' }))).toMatchObject({ status: 400 })
    expect(await server.stop()).toBe(0)
    expect(existsSync(path)).toBe(true)
  })
})
