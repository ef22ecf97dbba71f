import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, lstatSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { needsRoot } from '../support/needs.ts'
import { exchange, killRequest, openRaw } from '../support/raw.ts'
import { runToEnd } from '../support/run.ts'
import { startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

describe('the server on a socket', () => {
  test('kills, whatever the Host, and removes the socket when it stops', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    await using server = await startServer({ args: ['--socket', path], env: { PSYS_KILL_HOST: '0.0.0.0', PORT: '0' } })
    expect(server.url).toBe(path)
    using target = await startTarget()
    const answer = await exchange(path, killRequest(JSON.stringify({ pid: target.pid }), { host: 'anything.example' }))
    expect(answer).toMatchObject({ status: 200, body: '{"ok":true}' })
    expect(await target.ended).toBe('SIGTERM')
    expect(await server.stop()).toBe(0)
    expect(existsSync(path)).toBe(false)
    expect(server.stderr()).toBe('')
  })

  test('answers only the hosts that are named, where some are', async () => {
    using folder = emptyFolder()
    const args = ['--socket', folder.file('socket'), '--allow-host', 'kill.example']
    await using server = await startServer({ args })
    const ask = (host: string) => exchange(server.url, killRequest('{}', { host }))
    expect(await ask('kill.example')).toMatchObject({ status: 400 })
    expect(await ask('localhost')).toMatchObject({ status: 403 })
  })

  test('asks for the token there too', async () => {
    using folder = emptyFolder()
    await using server = await startServer({
      args: ['--socket', folder.file('socket')],
      env: { PSYS_KILL_TOKEN: TOKEN },
    })
    expect(await exchange(server.url, killRequest('{}'))).toMatchObject({ status: 401 })
    const authorization = `Bearer ${TOKEN}`
    expect(await exchange(server.url, killRequest('{}', { authorization }))).toMatchObject({ status: 400 })
  })

  test.each([0o000, 0o022, 0o077])('is for the owner and the group alone under umask %i', async (mask) => {
    using folder = emptyFolder()
    const umask = process.umask(mask)
    try {
      await using server = await startServer({ args: ['--socket', folder.file('socket')] })
      expect(lstatSync(server.url).mode & 0o777).toBe(0o660)
    } finally {
      process.umask(umask)
    }
  })

  test('lets no other user in, but one of its group', async (context) => {
    needsRoot(context)
    using folder = emptyFolder()
    chmodSync(folder.path, 0o755)
    await using server = await startServer({ args: ['--socket', folder.file('socket')], gid: 65_534 })
    const script = `require("net").connect(process.argv[1]).on("connect", () => process.exit(0)).on("error", (e) => { console.log(e.code); process.exit(1) })`
    const codeAs = async (gid: number) => {
      const child = spawn(process.execPath, ['-e', script, server.url], { uid: 65_534, gid, stdio: 'ignore' })
      const [code] = await once(child, 'exit')
      return code
    }
    expect(await codeAs(65_533)).toBe(1)
    expect(await codeAs(65_534)).toBe(0)
  })

  test('replaces the socket of a server that was killed', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    const first = await startServer({ args: ['--socket', path] })
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    expect(lstatSync(path).isSocket()).toBe(true)
    await using second = await startServer({ args: ['--socket', path] })
    expect(await exchange(second.url, killRequest('{}'))).toMatchObject({ status: 400 })
  })

  test('leaves the socket of a live server to it', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    await using first = await startServer({ args: ['--socket', path] })
    const start = performance.now()
    expect(await runToEnd(['--socket', path])).toEqual({
      code: 1,
      stdout: '',
      stderr: `psys-kill: Cannot listen on ${path}: ${path} is in use by another server.\n`,
    })
    // At once, and not when the other server drops the connection that asked it.
    expect(performance.now() - start).toBeLessThan(4500)
    expect(await exchange(first.url, killRequest('{}'))).toMatchObject({ status: 400 })
  })

  test('touches no file', async () => {
    using folder = emptyFolder()
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

  test('does not listen at another path than it says, where that is too long', async () => {
    using folder = emptyFolder()
    const { code, stderr } = await runToEnd(['--socket', folder.file('x'.repeat(120))])
    expect(code).toBe(1)
    expect(stderr).toMatch(/^psys-kill: [^\n]+\n$/)
  })

  test('finishes what is in flight when it stops', async () => {
    using folder = emptyFolder()
    await using server = await startServer({ args: ['--socket', folder.file('socket')] })
    using connection = await openRaw(server.url)
    const request = killRequest('{}')
    connection.socket.write(request.subarray(0, -1))
    expect(await exchange(server.url, killRequest('{}'))).toMatchObject({ status: 400 })
    server.child.kill('SIGTERM')
    connection.socket.write(request.subarray(-1))
    expect(await connection.closed).toMatch(/^HTTP\/1\.1 400 /)
    expect(await server.stop()).toBe(0)
    expect(existsSync(server.url)).toBe(false)
  })
})
