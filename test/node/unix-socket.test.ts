import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, lstatSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname } from 'node:path'
import { expect, test, vi } from 'vitest'
import { clearStaleSocket, publicAccess } from '../../src/node/unix-socket.ts'
import { pretendPlatform } from '../support/fakes.ts'
import { emptyFolder } from '../support/folder.ts'
import { needsLinux } from '../support/needs.ts'
import { startCommand } from '../support/processes.ts'
import { openRaw } from '../support/raw.ts'

vi.mock('node:fs', { spy: true })

const listenOn = async (path: string) => {
  const server = createServer().listen({ path })
  await once(server, 'listening')
  const fd = () => Number(Reflect.get(Object(Reflect.get(server, '_handle')), 'fd'))
  return { server, fd, [Symbol.dispose]: () => server.close() }
}

/** A folder with the socket of a server that did not remove it: by then it was elsewhere. */
const leftBehind = async () => {
  const folder = emptyFolder()
  const path = folder.file('38080')
  const { server } = await listenOn(folder.file('before'))
  renameSync(folder.file('before'), path)
  await once(server.close(), 'close')
  return { ...folder, path }
}

test('clearStaleSocket removes what a dead server left behind, and is content if there is nothing', async () => {
  using folder = await leftBehind()
  {
    // A named pipe leaves no file.
    using _ = pretendPlatform('win32')
    await clearStaleSocket(folder.path)
    expect(existsSync(folder.path)).toBe(true)
  }
  await clearStaleSocket(folder.path)
  expect(existsSync(folder.path)).toBe(false)
  await clearStaleSocket(folder.path)
  await clearStaleSocket(`${folder.path}/below`)
})

test('clearStaleSocket refuses what a live server holds, and does not stay connected', async () => {
  using folder = emptyFolder()
  const path = folder.file('38080')
  using live = await listenOn(path)
  const connected = once(live.server, 'connection')
  await expect(clearStaleSocket(path)).rejects.toThrow(`${path} cannot be replaced: in use by another server`)
  const [connection] = await connected
  await once(connection.resume(), 'close')
  // A relative path may look like a port.
  const module = new URL('../../build/dist/lib/node/index.js', import.meta.url)
  const script = `import('${module}').then(({ clearStaleSocket }) => clearStaleSocket('38080'))`
  const child = spawn(process.execPath, ['-e', script], { cwd: folder.path, stdio: 'ignore' })
  expect(await once(child, 'exit')).toEqual([1, null])
  expect(lstatSync(path).isSocket()).toBe(true)
})

test('clearStaleSocket refuses what is not a socket, and leaves it', async () => {
  using folder = await leftBehind()
  const make = 'echo precious > file; mkdir folder; ln -s file link; ln -s none dangling; ln -s 38080 to-socket'
  execFileSync('sh', ['-c', make], { cwd: dirname(folder.path) })
  for (const name of ['file', 'folder', 'link', 'dangling', 'to-socket']) {
    await expect(clearStaleSocket(folder.file(name))).rejects.toThrow(`${folder.file(name)} is not a socket`)
    expect(lstatSync(folder.file(name), { throwIfNoEntry: false })).toBeDefined()
  }
  expect(readFileSync(folder.file('file'), 'utf8')).toBe('precious\n')
  expect(lstatSync(folder.path).isSocket()).toBe(true)
})

test('clearStaleSocket refuses if a server is too busy to answer', async (context) => {
  needsLinux(context)
  using folder = emptyFolder()
  const path = folder.file('socket')
  const script = `require("net").createServer().listen({ path: process.argv[1], backlog: 1 }, () => console.log("up"))`
  using busy = await startCommand([process.execPath, '-e', script, path])
  busy.child.kill('SIGSTOP')
  await expect(async () => {
    for (;;) context.onTestFinished((await openRaw(path))[Symbol.dispose])
  }).rejects.toThrow('EAGAIN')
  await expect(clearStaleSocket(path)).rejects.toThrow(`${path} cannot be replaced: EAGAIN`)
  expect(lstatSync(path).isSocket()).toBe(true)
})

test('clearStaleSocket leaves what takes the place of the stale socket in the meantime', async () => {
  using folder = await leftBehind()
  const clearing = clearStaleSocket(folder.path)
  renameSync(folder.path, folder.file('stale'))
  writeFileSync(folder.path, 'precious')
  await clearing
  expect(readFileSync(folder.path, 'utf8')).toBe('precious')
  // Another server may remove it first.
  const again = clearStaleSocket(folder.file('stale'))
  unlinkSync(folder.file('stale'))
  await again
})

test.each([
  [0o660, undefined],
  [0o665, undefined],
  [0o666, 'its mode is 0666'],
  [0o702, 'its mode is 0702'],
])('publicAccess of a socket of mode %i: %s', async (mode, why) => {
  using folder = emptyFolder()
  const path = folder.file('so cket')
  using live = await listenOn(path)
  chmodSync(path, mode)
  expect(publicAccess(path)).toBe(why)
  if (process.platform === 'linux') expect(publicAccess(live.fd())).toBe(why)
  using _ = pretendPlatform('win32')
  expect(publicAccess(path)).toBeUndefined()
})

test('publicAccess of an abstract socket says that it has no mode', async (context) => {
  needsLinux(context)
  using live = await listenOn(`\0psys-kill-${process.pid}`)
  expect(publicAccess(live.fd())).toBe('it is abstract and has no mode')
})

test('publicAccess is not told of what does not exist, or is not a socket', () => {
  for (const none of ['/no/such/socket', 1_000_000, 0]) expect(publicAccess(none)).toBeUndefined()
})
