import { once } from 'node:events'
import { existsSync, lstatSync } from 'node:fs'
import { expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { listeningPlaces } from '../support/listening.ts'
import { describeWith, needsIPv6 } from '../support/needs.ts'
import { startCommand } from '../support/processes.ts'
import { runToEnd } from '../support/run.ts'
import { startServer } from '../support/server.ts'
import { TOKEN } from '../support/token.ts'

const env = { PSYS_KILL_TOKEN: TOKEN }
const PORT = ['--port', '0']

describeWith(['Linux'], 'what the kernel says where it listens', () => {
  test('is seen for every kind of socket', async () => {
    using folder = emptyFolder()
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
    expect(listeningPlaces(program.child.pid)).toEqual(expect.arrayContaining(places))
    expect(listeningPlaces(program.child.pid)).toHaveLength(places.length)
  })

  test.for<[mode: string, args: string[], env: Record<string, string>, addresses: string[]]>([
    ['by default', PORT, {}, ['127.0.0.1']],
    ['with a token alone', PORT, env, ['127.0.0.1']],
    ['with names to answer', [...PORT, '--allow-host', 'a.example'], {}, ['127.0.0.1']],
    ['with --host 127.0.0.2', [...PORT, '--host', '127.0.0.2'], {}, ['127.0.0.2']],
    ['with PSYS_KILL_HOST and PORT', [], { PSYS_KILL_HOST: '127.0.0.3', PORT: '0' }, ['127.0.0.3']],
    ['with --host localhost', [...PORT, '--host', 'localhost'], {}, ['127.0.0.1', '[::1]']],
    ['with a token and --host 0.0.0.0', [...PORT, '--host', '0.0.0.0'], env, ['0.0.0.0']],
    ['with --host ::1', [...PORT, '--host', '::1'], {}, ['[::1]']],
    ['with --host [::1]', [...PORT, '--host', '[::1]'], {}, ['[::1]']],
    ['with a token and --host ::', [...PORT, '--host', '::'], env, ['[::]']],
  ])('%s it is one address alone', async ([mode, args, more, addresses], context) => {
    if (mode.includes('::')) needsIPv6(context)
    await using server = await startServer({ args, env: more })
    const { port } = new URL(server.url)
    const places = listeningPlaces(server.child.pid)
    expect(places).toHaveLength(1)
    expect(addresses.map((address) => `${address}:${port}`)).toContain(places[0])
  })

  test.each([
    ['--socket 38080', ['--socket', '38080'], {}, './38080'],
    ['--socket 0', ['--socket', '0'], {}, './0'],
    ['--socket 99999', ['--socket', '99999'], {}, './99999'],
    ['--socket 0x9470', ['--socket', '0x9470'], {}, './0x9470'],
    ['--socket 127.0.0.1:80', ['--socket', '127.0.0.1:80'], {}, './127.0.0.1:80'],
    ['PSYS_KILL_SOCKET=38082', [], { PSYS_KILL_SOCKET: '38082' }, './38082'],
    ['PSYS_KILL_SOCKET=s and PORT=0', [], { PSYS_KILL_SOCKET: 's', PORT: '0' }, './s'],
    ['--socket s and PSYS_KILL_HOST=0.0.0.0', ['--socket', 's'], { PSYS_KILL_HOST: '0.0.0.0', PORT: '0' }, './s'],
  ] as const)('with %s it is that path alone', async (_mode, args, more, path) => {
    using folder = emptyFolder()
    await using server = await startServer({ args, env: more, cwd: folder.path })
    expect(listeningPlaces(server.child.pid)).toEqual([path])
    expect(lstatSync(folder.file(path)).mode & 0o777).toBe(0o660)
  })

  test('with the absolute path of a socket it is that path alone', async () => {
    using folder = emptyFolder()
    await using server = await startServer({ args: ['--socket', folder.file('socket')] })
    expect(listeningPlaces(server.child.pid)).toEqual([folder.file('socket')])
  })

  test('a path that looks like a port is left to the server that has it, and taken over from one that died', async () => {
    using folder = emptyFolder()
    const options = { args: ['--socket', '38080'], cwd: folder.path }
    await using first = await startServer(options)
    await expect(startServer(options)).rejects.toThrow('./38080 is in use by another server.')
    expect(listeningPlaces(first.child.pid)).toEqual(['./38080'])
    first.child.kill('SIGKILL')
    await once(first.child, 'exit')
    expect(existsSync(folder.file('38080'))).toBe(true)
    await using second = await startServer(options)
    expect(listeningPlaces(second.child.pid)).toEqual(['./38080'])
  })

  test('beyond loopback and without a token it is nowhere', async () => {
    expect((await runToEnd(['--host', '0.0.0.0', ...PORT])).code).toBe(1)
  })
})
