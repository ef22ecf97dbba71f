import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, readdirSync, writeFileSync } from 'node:fs'
import { expect, describe as group, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import { needsRoot } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { exchange, killRequest, openRaw } from '../support/raw.ts'
import { runToEnd } from '../support/run.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'
import { ANY_URL, DENO_BUN_ENTRY, denoEnv, runtimes } from './runtimes.ts'

const deno = (...flags: string[]) => [runtimes.Deno, 'serve', '--no-lock', ...flags, DENO_BUN_ENTRY]
const LOOPBACK = ['--host', '127.0.0.1', '--port', '0']
const sources = {
  'deno serve': deno('--allow-all', ...LOOPBACK),
  Bun: [runtimes.Bun, DENO_BUN_ENTRY],
} as const
const singleFiles = {
  Deno: [runtimes.Deno, 'run', '--allow-all', BUILT_FILE],
  Bun: [runtimes.Bun, BUILT_FILE],
} as const

const env = { ...denoEnv(), PORT: '0' }
const start = (command: readonly string[], more: Record<string, string> = {}) =>
  startServer({ command, args: [], env: { ...env, ...more }, listening: ANY_URL })
const endOf = (command: readonly string[], args: readonly string[] = [], more: Record<string, string> = {}) =>
  runToEnd(args, { ...env, ...more }, command)
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

group.each(Object.entries(sources))('the source on %s', (_name, command) => {
  test('protects the given processes, and is quiet if that is set', async () => {
    using target = startSleeper()
    await using server = await start(command, { PSYS_KILL_PROTECT: `${target.pid}`, PSYS_KILL_QUIET: '1' })
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 403 })
    expect(await server.kill({ pid: 'x' })).toMatchObject({ status: 400 })
    const ended = once(server.child, 'close')
    await server.stop()
    await ended
    expect(server.records).toEqual([])
  })

  test('does not start with a setting that is wrong, or that it does not have', async () => {
    expect(await endOf(command, [], { PORT: 'x' })).toMatchObject({
      code: 1,
      stderr: 'psys-kill: --port (PORT) takes a number from 0 to 65535, not "x".\n',
    })
    expect(await endOf(command, [], { PSYS_KILL_SOCKET: '/nowhere/socket' })).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^psys-kill: Only the single file has --socket, [^\n]+\n$/),
    })
  })
})

group('deno serve', () => {
  test('without --allow-run kills nothing, and names the flag in the log alone', async () => {
    using target = startSleeper()
    await using server = await start(deno('--allow-env', ...LOOPBACK))
    const { status, text } = await server.kill({ pid: target.pid })
    expect({ status, text }).toEqual({ status: 500, text: '{"error":"Failed to kill process"}' })
    expect(target.isAlive()).toBe(true)
    const { error } = await server.record((record) => record['status'] === 500)
    expect(error).toContain('--allow-run')
  })

  // A network namespace of its own has an address besides loopback, and nobody else is in it.
  test('opens nothing to the network if --host was forgotten', async (context) => {
    needsRoot(context)
    const setUp = 'ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec "$@"'
    const getStatus = `require('http').get(process.argv[1], { headers: { host: 'localhost' } }, (response) => {
      process.stdout.write(String(response.statusCode))
      process.exit()
    })`
    const statuses = async (path: string, more: Record<string, string>) => {
      const command = ['unshare', '--net', 'sh', '-c', setUp, '-', ...deno('--allow-all', '--port', '0')]
      await using server = await start(command, more)
      const { port } = new URL(server.url)
      const enter = ['--net', '--target', `${server.child.pid}`, process.execPath, '-e', getStatus]
      return ['127.0.0.1', '192.0.2.1'].map((address) => {
        const { stdout } = spawnSync('nsenter', [...enter, `http://${address}:${port}${path}`], { timeout: 20_000 })
        return Number(stdout)
      })
    }
    const KILL = '/api/connections/kill'
    expect(await statuses(KILL, {})).toEqual([405, 403])
    // Whoever sets a token may let the network in.
    expect(await statuses(KILL, { PSYS_KILL_TOKEN: TOKEN })).toEqual([401, 401])
  })
})

group.each(Object.entries(singleFiles))('the single file on %s', (_name, command) => {
  test('serves on a Unix domain socket for its group, replaces a stale one, and removes it', async () => {
    using folder = emptyFolder()
    using target = startSleeper()
    const path = folder.file('socket')
    const args = ['--socket', path]
    const dead = await startServer({ command, args, env })
    dead.child.kill('SIGKILL')
    await once(dead.child, 'exit')
    await using server = await startServer({ command, args, env })
    expect(lstatSync(path).mode & 0o777).toBe(0o660)
    expect(await exchange(path, killRequest(`{"pid":${target.pid}}`))).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
    expect((await endOf(command, args)).stderr).toContain('in use by another server')
    expect(await server.stop()).toBe(0)
    expect(lstatSync(path, { throwIfNoEntry: false })).toBeUndefined()
  })

  test.each([
    ['a path that looks like a port', ['--socket', '38080'], {}, './38080'],
    ['an address of its own', ['--port', '0', '--host', '127.0.0.2'], {}, '127.0.0.2:PORT'],
    ['IPv6', ['--port', '0', '--host', '::1'], {}, '[::1]:PORT'],
    ['all addresses with a token', ['--port', '0', '--host', '0.0.0.0'], { PSYS_KILL_TOKEN: TOKEN }, '0.0.0.0:PORT'],
  ])('listens on %s alone', async (_what, args, more, place) => {
    using folder = emptyFolder()
    await using server = await startServer({ command, args, env: { ...denoEnv(), ...more }, cwd: folder.path })
    const [, port = ''] = /:(\d+)$/.exec(server.url) ?? []
    expect(listeningPlaces(server.child.pid)).toEqual([place.replace('PORT', port)])
  })

  test('reads its token file again on SIGHUP', async () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, TOKEN, { mode: 0o600 })
    await using server = await startServer({ command, args: ['--port', '0', '--token-file', file], env })
    expect(await server.kill({ pid: 0 }, bearer(TOKEN))).toMatchObject({ status: 400 })
    writeFileSync(file, `${TOKEN}-2`)
    server.child.kill('SIGHUP')
    await server.says(/"reloaded: tokens without a name"/)
    expect(await server.kill({ pid: 0 }, bearer(TOKEN))).toMatchObject({ status: 401 })
    expect(await server.kill({ pid: 0 }, bearer(`${TOKEN}-2`))).toMatchObject({ status: 400 })
  })

  test('keeps nothing of the connections that its clients leave', async () => {
    await using server = await startServer({ command, args: ['--port', '0'], env })
    const open = () => readdirSync(`/proc/${server.child.pid}/fd`).length
    expect(await server.kill({ pid: 0 })).toMatchObject({ status: 400 })
    const before = open()
    const request = String(killRequest('{"pid":0}', { connection: '' }))
    for (const bytes of ['', request, request + request, request.slice(0, -1), 'POST / HT', 'junk\r\n\r\n'])
      for (let times = 0; times < 10; times++) {
        using connection = await openRaw(server.url)
        connection.socket.write(bytes)
        if (bytes.startsWith(request)) await connection.until(/Invalid pid/)
      }
    await expect.poll(open).toBeLessThanOrEqual(before)
  })

  test('answers those who wait for an exit when it is stopped', async () => {
    using target = await startTarget("process.on('SIGTERM', () => console.log('signalled'))")
    await using server = await startServer({ command, args: ['--port', '0'], env })
    const answer = server.kill({ pid: target.pid, waitMs: 60_000 })
    for await (const said of target.child.stdout ?? []) if (String(said).includes('signalled')) break
    expect(await server.stop()).toBe(0)
    expect(await answer).toMatchObject({ status: 200, text: '{"ok":true,"exited":false}' })
  })

  test('says in one line why it cannot start', async () => {
    const args = ['--tls-cert', 'none', '--tls-key', 'none', '--tls-client-ca', 'none']
    const { code, stdout, stderr } = await endOf(command, args)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(
      /^psys-kill: (Bun cannot serve TLS here|Client certificates [^\n]+ work on Node only); [^\n]+\n$/,
    )
  })
})
