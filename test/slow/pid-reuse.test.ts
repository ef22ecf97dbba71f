import { chmodSync, copyFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { type Namespace, noNamespaces, startNamespace } from '../support/namespace.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'

const SENT = { status: 200, text: '{"ok":true}' }
const EXITED = { status: 200, text: '{"ok":true,"exited":true}' }
const DENIED = { status: 403, text: '{"error":"Permission denied"}' }
const NOT_FOUND = { status: 404, text: '{"error":"Process not found"}' }
const NO_STARTED_BEFORE = { status: 501, text: '{"error":"startedBefore is not supported here"}' }

/** The PID that is used twice; nothing else in the namespace comes near it. */
const PID = 5000
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
const MAY_KILL = ['--inh-caps=+kill', '--ambient-caps=+kill']

/** The built file, served from inside a namespace. */
const startInside = ({ enter }: Namespace, as: readonly string[] = [], file = BUILT_FILE) =>
  startServer({ command: [...enter, ...as, process.execPath, file] })

/** The built file where every user can read it. */
const publicFile = () => {
  const folder = emptyFolder()
  chmodSync(folder.path, 0o755)
  copyFileSync(BUILT_FILE, folder.file('psys-kill.cjs'))
  return { path: folder.file('psys-kill.cjs'), [Symbol.dispose]: folder[Symbol.dispose] }
}

/** A time that every start from now on is after, and every one until now, with all that readings cut off, before. */
const instant = async () => {
  await sleep(50)
  const now = new Date().toISOString()
  await sleep(2)
  return now
}

describe.skipIf(noNamespaces)(`in a PID namespace${noNamespaces ? ` (${noNamespaces})` : ''}`, () => {
  test('a process that got the PID of another one is spared by the time at which that one was seen', async () => {
    await using inside = await startNamespace()
    await using server = await startInside(inside)
    using meant = await inside.start({ pid: PID })
    expect(meant.pid).toBe(PID)
    const seen = await instant()
    expect(await server.kill({ pid: PID, startedBefore: seen })).toMatchObject(SENT)
    await meant.ended
    expect(await server.kill({ pid: PID, startedBefore: seen })).toMatchObject(NOT_FOUND)

    using innocent = await inside.start({ pid: PID })
    expect(innocent.pid).toBe(PID)
    expect(await server.kill({ pid: PID, startedBefore: seen })).toMatchObject(NOT_FOUND)
    expect(await server.kill({ pid: PID, startedBefore: seen, waitMs: 60_000 })).toMatchObject(NOT_FOUND)
    await sleep(100)
    expect(innocent.isAlive()).toBe(true)

    expect(await server.kill({ pid: PID })).toMatchObject(SENT)
    await innocent.ended
  })

  test('what a look told of kills that process, and not one that got its PID, or its place by exec', async () => {
    await using inside = await startNamespace()
    await using server = await startInside(inside)
    const look = async () => {
      const { text } = await server.kill({ pid: PID, dryRun: true })
      const { command, startedAt: startedBefore } = JSON.parse(text).process
      return { pid: PID, command, startedBefore }
    }
    using meant = await inside.start({ pid: PID })
    await sleep(50)
    const seen = await look()
    expect(await server.kill(seen)).toMatchObject(SENT)
    await meant.ended

    using innocent = await inside.start({ pid: PID })
    expect(await server.kill(seen)).toMatchObject(NOT_FOUND)
    await sleep(50)
    expect(innocent.isAlive()).toBe(true)
    expect(await server.kill(await look())).toMatchObject(SENT)
    await innocent.ended

    using changing = await inside.start({ pid: PID, run: 'sh -c "sleep 0.5; exec sleep 600"' })
    await sleep(50)
    const before = await look()
    expect(before.command).toBe('sh')
    await expect.poll(async () => (await look()).command).toBe('sleep')
    expect(await server.kill(before)).toMatchObject(NOT_FOUND)
    expect(changing.isAlive()).toBe(true)
  })

  test('a process whose PID is used again within a tick has exited for those who wait', async () => {
    await using inside = await startNamespace()
    await using server = await startInside(inside)
    using target = await inside.start({ pid: PID, successors: 1 })
    // Of two that start within one tick of the clock /proc tells the same.
    await sleep(30)
    expect(await server.kill({ pid: PID, waitMs: 20_000 })).toMatchObject(EXITED)
    await expect.poll(target.pids).toEqual([PID, PID])
    expect(target.isAlive()).toBe(true)
  })

  test('PID 1 and the server itself are never signalled', async () => {
    await using inside = await startNamespace()
    await using server = await startInside(inside, ['sh', '-c', 'echo $$ >&2; exec "$@"', 'sh'])
    const own = Number.parseInt(server.stderr(), 10)
    for (const pid of [1, own])
      for (const conditions of [{}, { startedBefore: '2100-01-01T00:00:00Z' }, { waitMs: 0 }])
        expect(await server.kill({ pid, ...conditions })).toMatchObject(DENIED)
    await sleep(100)
    expect(inside.initSaid()).toBe('up\n')
    // That one would have been seen.
    inside.run('kill 1')
    await expect.poll(inside.initSaid).toBe('up\nSIGTERM\n')
  })

  test.each([
    ['with a /proc of its own', ['--mount-proc']],
    ['in a time namespace, where the system looks a day older', ['--mount-proc', '--time', '--boottime', '86400']],
  ])('starts are told from inside a container %s', async (_, options) => {
    await using inside = await startNamespace(options)
    await using server = await startInside(inside)
    const before = await instant()
    using target = await inside.start()
    expect(await server.kill({ pid: target.pid, startedBefore: before })).toMatchObject(NOT_FOUND)
    expect(await server.kill({ pid: target.pid, startedBefore: await instant(), waitMs: 20_000 })).toMatchObject(EXITED)
    await target.ended
  })

  test('starts in a container are told from outside', async () => {
    await using inside = await startNamespace()
    await using server = await startServer()
    const before = await instant()
    using target = await inside.start()
    const pid = target.outerPid
    expect(await server.kill({ pid, startedBefore: before })).toMatchObject(NOT_FOUND)
    expect(await server.kill({ pid, startedBefore: await instant(), waitMs: 20_000 })).toMatchObject(EXITED)
    await target.ended
  })

  test.each([
    ['of another namespace', [], 'true'],
    ['that is not mounted', ['--mount-proc'], 'umount -l /proc'],
  ])('with a /proc %s, kill(2) alone decides and startedBefore fails closed', async (_, options, prepare) => {
    await using inside = await startNamespace(options)
    inside.run(prepare)
    await using server = await startInside(inside)
    using target = await inside.start()
    const { pid } = target
    for (const startedBefore of ['2000-01-01T00:00:00Z', '2100-01-01T00:00:00Z'])
      expect(await server.kill({ pid, startedBefore })).toMatchObject(NO_STARTED_BEFORE)
    expect(await server.kill({ pid: 1 })).toMatchObject(DENIED)
    expect(inside.initSaid()).toBe('up\n')
    expect(target.isAlive()).toBe(true)
    expect(await server.kill({ pid, waitMs: 20_000 })).toMatchObject(EXITED)
    await target.ended
    expect(await server.kill({ pid })).toMatchObject(NOT_FOUND)
  })

  describe.each(['1', '2', '4'])('with a /proc mounted hidepid=%s, for another user', (hidepid) => {
    const mount = `mount -t proc -o hidepid=${hidepid} proc /proc`
    const future = '2100-01-01T00:00:00Z'

    test('what is hidden is told from what is gone, and is not signalled', async () => {
      await using inside = await startNamespace()
      inside.run(mount)
      using file = publicFile()
      await using server = await startInside(inside, NOBODY, file.path)
      using target = await inside.start()
      for (const conditions of [{}, { startedBefore: future }, { waitMs: 0 }])
        expect(await server.kill({ pid: target.pid, ...conditions })).toMatchObject(DENIED)
      expect(target.isAlive()).toBe(true)
      inside.run(`kill ${target.pid}`)
      await target.ended
      for (const conditions of [{}, { startedBefore: future }, { waitMs: 0 }])
        expect(await server.kill({ pid: target.pid, ...conditions })).toMatchObject(NOT_FOUND)
    })

    test("the user's own processes are killed as ever", async () => {
      await using inside = await startNamespace()
      inside.run(mount)
      using file = publicFile()
      await using server = await startInside(inside, NOBODY, file.path)
      const before = await instant()
      using target = await inside.start({ as: NOBODY })
      const { pid } = target
      expect(await server.kill({ pid, startedBefore: before })).toMatchObject(NOT_FOUND)
      expect(await server.kill({ pid, startedBefore: await instant(), waitMs: 20_000 })).toMatchObject(EXITED)
      await target.ended
    })

    test('what it may signal but not see is killed, and its exit told, but not under startedBefore', async () => {
      await using inside = await startNamespace()
      inside.run(mount)
      using file = publicFile()
      await using server = await startInside(inside, [...NOBODY, ...MAY_KILL], file.path)
      using target = await inside.start()
      const { pid } = target
      expect(await server.kill({ pid, startedBefore: future })).toMatchObject(NO_STARTED_BEFORE)
      expect(await server.kill({ pid: 1 })).toMatchObject(DENIED)
      expect(target.isAlive()).toBe(true)
      expect(await server.kill({ pid, waitMs: 20_000 })).toMatchObject(EXITED)
      await target.ended
    })
  })
})
