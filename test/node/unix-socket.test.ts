import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Server } from 'node:net'
import { describe, expect, test, vi } from 'vitest'
import { clearStaleSocket } from '../../src/node/unix-socket.ts'
import { emptyFolder } from '../support/folder.ts'
import { openRaw } from '../support/raw.ts'

vi.mock('node:fs', { spy: true })

const listenOn = async (path: string): Promise<AsyncDisposable & { server: Server }> => {
  const server = createServer().listen(path)
  await once(server, 'listening')
  return { server, [Symbol.asyncDispose]: async () => void server.close() }
}

/** Leaves the socket of a server that had no time to remove it. */
const leaveStaleSocket = async (path: string) => {
  const script = 'require("net").createServer().listen(process.argv[1], () => process.kill(process.pid, "SIGKILL"))'
  await once(spawn(process.execPath, ['-e', script, path], { stdio: 'inherit' }), 'exit')
  expect(lstatSync(path).isSocket()).toBe(true)
}

describe('clearStaleSocket', () => {
  test('leaves a path alone where there is nothing', async () => {
    using folder = emptyFolder()
    await clearStaleSocket(folder.file('none'))
    await expect(clearStaleSocket(folder.file('none/below'))).resolves.toBeUndefined()
  })

  test('removes what a dead server left behind', async () => {
    using folder = emptyFolder()
    await leaveStaleSocket(folder.file('socket'))
    await clearStaleSocket(folder.file('socket'))
    expect(existsSync(folder.file('socket'))).toBe(false)
  })

  test('refuses one that a live server holds, and leaves it', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    await using live = await listenOn(path)
    const connected = once(live.server, 'connection')
    await expect(clearStaleSocket(path)).rejects.toThrow(`${path} is in use by another server`)
    expect(lstatSync(path).isSocket()).toBe(true)
    // It does not stay connected.
    const [connection] = await connected
    await once(connection.resume(), 'close')
  })

  test('takes a path for a path, though it looks like a port', async () => {
    using folder = emptyFolder()
    await using _live = await listenOn(folder.file('38080'))
    const module = new URL('../../build/dist/lib/node/index.js', import.meta.url)
    const script = `import('${module}').then(({ clearStaleSocket }) => clearStaleSocket('38080'))`
    const child = spawn(process.execPath, ['-e', script], { cwd: folder.path, stdio: 'ignore' })
    expect(await once(child, 'exit')).toEqual([1, null])
    expect(lstatSync(folder.file('38080')).isSocket()).toBe(true)
  })

  test('refuses what is no socket, and never touches it', async () => {
    using folder = emptyFolder()
    writeFileSync(folder.file('file'), 'precious')
    mkdirSync(folder.file('folder'))
    symlinkSync(folder.file('file'), folder.file('link'))
    symlinkSync(folder.file('nowhere'), folder.file('dangling'))
    await leaveStaleSocket(folder.file('socket'))
    symlinkSync(folder.file('socket'), folder.file('link to a socket'))
    for (const name of ['file', 'folder', 'link', 'dangling', 'link to a socket']) {
      await expect(clearStaleSocket(folder.file(name))).rejects.toThrow(`${folder.file(name)} is not a socket`)
      expect(lstatSync(folder.file(name), { throwIfNoEntry: false })).toBeDefined()
    }
    expect(readFileSync(folder.file('file'), 'utf8')).toBe('precious')
    expect(lstatSync(folder.file('socket')).isSocket()).toBe(true)
  })

  test('takes no chances with a server that is too busy to answer', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    const script =
      'require("net").createServer().listen({ path: process.argv[1], backlog: 1 }, () => console.log("up"))'
    const busy = spawn(process.execPath, ['-e', script, path], { stdio: ['ignore', 'pipe', 'inherit'] })
    const clients: Disposable[] = []
    try {
      await once(busy.stdout, 'data')
      busy.kill('SIGSTOP')
      await expect(async () => {
        for (;;) clients.push(await openRaw(path))
      }).rejects.toThrow('EAGAIN')
      await expect(clearStaleSocket(path)).rejects.toThrow(`Cannot tell whether a server holds ${path}: `)
      expect(lstatSync(path).isSocket()).toBe(true)
    } finally {
      busy.kill('SIGKILL')
      for (const client of clients) client[Symbol.dispose]()
    }
  })

  test('leaves what took the place of a stale socket in the meantime', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    await leaveStaleSocket(path)
    const clearing = clearStaleSocket(path)
    renameSync(path, folder.file('stale'))
    writeFileSync(path, 'precious')
    await clearing
    expect(readFileSync(path, 'utf8')).toBe('precious')
  })

  test('is content where the socket vanishes after its server was asked for', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    await leaveStaleSocket(path)
    const clearing = clearStaleSocket(path)
    unlinkSync(path)
    await clearing
    expect(existsSync(path)).toBe(false)
  })

  test('is content where the socket vanishes before', async () => {
    using folder = emptyFolder()
    const path = folder.file('socket')
    await leaveStaleSocket(path)
    vi.mocked(lstatSync).mockReturnValueOnce(lstatSync(path))
    unlinkSync(path)
    await clearStaleSocket(path)
    expect(existsSync(path)).toBe(false)
  })
})
