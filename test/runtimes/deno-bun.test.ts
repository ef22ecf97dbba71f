import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { lstatSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { expect, describe as group, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import { needsRoot } from '../support/needs.ts'
import { exchange, killRequest } from '../support/raw.ts'
import { runToEnd } from '../support/run.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'
import { DENO_BUN_ENTRY, denoEnv, runtimes } from './runtimes.ts'

const LISTENING = /(http:\/\/[^/\s]+)/
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

const env = { ...denoEnv(`${tmpdir()}/psys-kill-deno`), PORT: '0' }
const start = (command: readonly string[], more: Record<string, string> = {}) =>
  startServer({ command, args: [], env: { ...env, ...more }, listening: LISTENING })
const endOf = (command: readonly string[], args: readonly string[] = [], more: Record<string, string> = {}) =>
  runToEnd(args, { ...env, ...more }, command)

group.each(Object.entries(sources))('the source on %s', (_name, command) => {
  test('asks for the token that is set', async () => {
    using target = await startTarget()
    await using server = await start(command, { PSYS_KILL_TOKEN: TOKEN })
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 401 })
    expect(target.isAlive()).toBe(true)
    const authorization = `Bearer ${TOKEN}`
    expect(await server.kill({ pid: target.pid }, { authorization })).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('protects what it is told to, and records the address of the client', async () => {
    using target = await startTarget()
    await using server = await start(command, { PSYS_KILL_PROTECT: `${target.pid}` })
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 403 })
    expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({
      remote: '127.0.0.1',
      outcome: 'EPERM',
    })
  })

  test('records unexpected errors only, where it is told to be quiet', async () => {
    using target = await startTarget()
    await using server = await start(command, { PSYS_KILL_QUIET: '1' })
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200 })
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
      stderr:
        'psys-kill: Only the single file has --socket, --tls-…, --help and --version, and takes over a socket of systemd.\n',
    })
  })
})

group('deno serve', () => {
  test('without --allow-run kills nothing, and names the flag in the log alone', async () => {
    using target = await startTarget()
    await using server = await start(deno('--allow-env', ...LOOPBACK))
    expect(await server.kill({ pid: target.pid })).toMatchObject({
      status: 500,
      text: '{"error":"Failed to kill process"}',
    })
    expect(target.isAlive()).toBe(true)
    const { error } = await server.record(({ status }) => status === 500)
    expect(error).toContain('--allow-run')
  })

  // In a network namespace of its own there is an address beside loopback's, and nobody else.
  test('opens nothing to the network when --host was forgotten', async (context) => {
    needsRoot(context)
    const addresses = ['127.0.0.1', '192.0.2.1']
    const setUp = 'ip link set lo up && ip addr add 192.0.2.1/32 dev lo && exec "$@"'
    const statuses = async (more: Record<string, string>) => {
      const command = ['unshare', '--net', 'sh', '-c', setUp, '-', ...deno('--allow-all', '--port', '0')]
      await using server = await start(command, more)
      const { port } = new URL(server.url)
      const ask = `require('http').get(process.argv[1], { headers: { host: 'localhost' } }, (response) => {
        process.stdout.write(String(response.statusCode))
        process.exit()
      })`
      const enter = ['--net', '--target', `${server.child.pid}`, process.execPath, '-e', ask]
      return addresses.map((address) =>
        Number(
          spawnSync('nsenter', [...enter, `http://${address}:${port}/healthz`], { encoding: 'utf8', timeout: 5000 })
            .stdout,
        ),
      )
    }
    expect(await statuses({})).toEqual([200, 403])
    // Whoever sets a token may let the network in.
    expect(await statuses({ PSYS_KILL_TOKEN: TOKEN })).toEqual([200, 200])
  })
})

group.each(Object.entries(singleFiles))('the single file on %s', (_name, command) => {
  test('serves on a Unix domain socket that its group may use, and removes it', async () => {
    using folder = emptyFolder()
    using target = await startTarget()
    const path = folder.file('socket')
    await using server = await startServer({ command, args: ['--socket', path], env })
    expect(lstatSync(path).mode & 0o777).toBe(0o660)
    expect(await exchange(path, killRequest(`{"pid":${target.pid}}`))).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
    expect((await endOf(command, ['--socket', path])).stderr).toContain('in use by another server')
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
    await using server = await startServer({
      command,
      args,
      env: { ...denoEnv(env.DENO_DIR), ...more },
      cwd: folder.path,
    })
    const [, port = ''] = /:(\d+)$/.exec(server.url) ?? []
    expect(listeningPlaces(server.child.pid)).toEqual([place.replace('PORT', port)])
  })

  test('takes the place of a server that died', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    const dead = await startServer({ command, args: ['--socket', path], env })
    dead.child.kill('SIGKILL')
    await once(dead.child, 'exit')
    await using _server = await startServer({ command, args: ['--socket', path], env })
    expect(await exchange(path, killRequest('{"pid":0}'))).toMatchObject({ status: 400 })
  })

  test('reads the token from a file', async () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, TOKEN, { mode: 0o600 })
    await using server = await startServer({ command, args: ['--port', '0', '--token-file', file], env })
    expect(await server.kill({ pid: 0 })).toMatchObject({ status: 401 })
    expect(await server.kill({ pid: 0 }, { authorization: `Bearer ${TOKEN}` })).toMatchObject({ status: 400 })
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
    expect(await endOf(command, ['--host', '0.0.0.0'])).toMatchObject({
      code: 1,
      stdout: '',
      stderr: expect.stringMatching(/^psys-kill: Listening on 0\.0\.0\.0 lets the network in: .*\n$/),
    })
  })
})
