import { once } from 'node:events'
import { lstatSync, readdirSync, writeFileSync } from 'node:fs'
import { expect, describe as group, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import { startSleeper, startTarget } from '../support/processes.ts'
import { exchange, killRequest, openRaw } from '../support/raw.ts'
import { BUILT_FILE, runToEnd, startServer, TOKEN } from '../support/server.ts'
import { denoEnv, runtimes } from './runtimes.ts'

const singleFiles = { Deno: [runtimes.Deno, 'run', '--allow-all', BUILT_FILE], Bun: [runtimes.Bun, BUILT_FILE] }
const env = denoEnv()
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })

test('on Deno without --allow-run it kills nothing, and names the flag in the log alone', async () => {
  using target = startSleeper()
  const command = [runtimes.Deno, 'run', '--no-prompt', '--allow-net', '--allow-env', '--allow-sys', BUILT_FILE]
  await using server = await startServer({ command, env })
  expect(await server.kill({ pid: target.pid })).toMatchObject({ text: '{"error":"Failed to kill process"}' })
  expect(target.isAlive()).toBe(true)
  expect((await server.record(({ status }) => status === 500))['error']).toContain('--allow-run')
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
    expect((await runToEnd(args, env, command)).stderr).toContain('in use by another server')
    expect(await server.stop()).toBe(0)
    expect(lstatSync(path, { throwIfNoEntry: false })).toBeUndefined()
  })

  test.each([
    ['a path that looks like a port', ['--socket', '38080'], {}, './38080'],
    ['IPv6', ['--port', '0', '--host', '::1'], {}, '[::1]:PORT'],
    ['all addresses with a token', ['--port', '0', '--host', '0.0.0.0'], { PSYS_KILL_TOKEN: TOKEN }, '0.0.0.0:PORT'],
  ])('listens on %s alone', async (_what, args, more, place) => {
    using folder = emptyFolder()
    await using server = await startServer({ command, args, env: { ...env, ...more }, cwd: folder.path })
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
    await using server = await startServer({ command, env })
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
    await using server = await startServer({ command, env })
    const answer = server.kill({ pid: target.pid, waitMs: 60_000 })
    for await (const said of target.child.stdout ?? []) if (String(said).includes('signalled')) break
    expect(await server.stop()).toBe(0)
    expect(await answer).toMatchObject({ status: 200, text: '{"ok":true,"exited":false}' })
  })

  test('says in one line why it cannot start', async () => {
    const args = ['--tls-cert', 'none', '--tls-key', 'none', '--tls-client-ca', 'none']
    const error = /^psys-kill: (Bun cannot serve TLS here|Client certificates [^\n]+ work on Node only); [^\n]+\n$/
    const { code, stdout, stderr } = await runToEnd(args, env, command)
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(error)
  })
})
