import { fork } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readSync, writeFileSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type NodeSignallerOptions, nodeSignaller } from '../../src/node/index.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { emptyFolder } from '../support/folder.ts'
import { needsLinux, needsRoot } from '../support/needs.ts'
import { pretendPlatform } from '../support/platform.ts'
import { startAs, startNamed, startSleeper, startZombie } from '../support/processes.ts'
import { reapedPid, type Target } from '../support/target.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())
beforeEach(needsLinux)

const ALICE = 65_531
const BOB = 65_532
const future = () => new Date(Date.now() + 60_000)

/** Expects that it gets no signal, whatever else is asked; and no dry run says that it would. */
const expectSpared = async ({ pid, isAlive }: Target, options: NodeSignallerOptions, reason: string) => {
  const kill = vi.spyOn(process, 'kill')
  const { terminate } = nodeSignaller(options)
  for (const conditions of [{}, { startedBefore: future() }, { waitMs: 60_000 }, { dryRun: true } as const])
    expect(await terminate(pid, conditions)).toMatchObject({ code: 'EPERM', reason })
  expect(kill).not.toHaveBeenCalled()
  kill.mockRestore()
  expect(isAlive()).toBe(true)
}

const expectKilled = async ({ pid, ended }: Target, options: NodeSignallerOptions) => {
  expect(nodeSignaller(options).terminate(pid)).toMatchObject({ code: 'sent' })
  expect(await ended).toBe('SIGTERM')
}

describe('onlyUids', () => {
  beforeEach(needsRoot)

  test('spares all but the processes of these users', async () => {
    using alices = startSleeper({ uid: ALICE, gid: ALICE })
    using bobs = startSleeper({ uid: BOB, gid: BOB })
    using roots = startSleeper()
    await expectSpared(bobs, { onlyUids: [ALICE] }, 'uid')
    await expectSpared(roots, { onlyUids: [ALICE, BOB] }, 'uid')
    await expectSpared(alices, { onlyUids: [0, BOB] }, 'uid')
    await expectSpared(alices, { onlyUids: [] }, 'uid')
    await expectKilled(alices, { onlyUids: [ALICE] })
    await expectKilled(bobs, { onlyUids: [ALICE, BOB] })
    await expectKilled(roots, { onlyUids: [0] })
  })

  test.each([
    ['a setuid program of root', ALICE, 0],
    ['a server of root that has put on a user', 0, ALICE],
    ['a setuid program of another user', ALICE, BOB],
  ])('spares %s unless both its user ids are listed', async (_, real, effective) => {
    using target = await startAs(real, effective)
    await expectSpared(target, { onlyUids: [real] }, 'uid')
    await expectSpared(target, { onlyUids: [effective] }, 'uid')
    await expectKilled(target, { onlyUids: [real, effective] })
  })

  test.each(['\n', '\r', '\u2028'])(
    'is not fooled by a name with %j that looks like a line of the status',
    async (end) => {
      using target = await startNamed(`${end}Uid:\t5\t5\t`)
      await expectSpared(target, { onlyUids: [5] }, 'uid')
      await expectKilled(target, { onlyUids: [0] })
    },
  )

  test('does not change what is gone: a zombie, a thread, and what has been reaped', async () => {
    using zombie = await startZombie()
    const { terminate } = nodeSignaller({ onlyUids: [ALICE] })
    expect(terminate(zombie.pid)).toMatchObject({ code: 'ESRCH', reason: 'zombie' })
    expect(terminate(await reapedPid())).toEqual({ code: 'ESRCH' })
  })

  test.each([
    ['says nothing', { text: '' }, { code: 'EPERM', reason: 'uid' }],
    ['says half of it', { text: 'Uid:\t0\n' }, { code: 'EPERM', reason: 'uid' }],
    ['is closed', { error: 'EACCES' }, { code: 'EPERM', reason: 'hidden' }],
    ['is gone by now', { error: 'ENOENT' }, { code: 'ESRCH' }],
  ])('signals nothing where the status %s', async (_, status, outcome) => {
    using target = startSleeper()
    using __ = await fakeFiles({ [`/proc/${target.pid}/status`]: status })
    expect(nodeSignaller({ onlyUids: [0] }).terminate(target.pid)).toMatchObject(outcome)
    expect(target.isAlive()).toBe(true)
  })

  test('is an exception where the status cannot be read for the moment', async () => {
    using target = startSleeper()
    const { terminate } = nodeSignaller({ onlyUids: [0] })
    using _ = await fakeFiles({ [`/proc/${target.pid}/status`]: { error: 'EMFILE' } })
    expect(() => terminate(target.pid)).toThrow('EMFILE')
    expect(target.isAlive()).toBe(true)
  })

  test('reads the ids while the stat is open, and nothing but the stat without them', () => {
    using target = startSleeper()
    const { pid } = target
    const spied = (options: NodeSignallerOptions) => {
      const { terminate } = nodeSignaller(options)
      const mocks = [openSync, readSync, closeSync].map((file) => vi.mocked(file).mockClear())
      terminate(pid, { dryRun: undefined, command: 'no such name' })
      return mocks
        .flatMap(({ mock }, kind) => mock.invocationCallOrder.map((at, i) => ({ at, kind, args: mock.calls[i] })))
        .sort((a, b) => a.at - b.at)
        .map(({ kind, args = [] }) => (kind === 0 ? String(args[0]) : kind === 1 ? 'read' : 'close'))
    }
    const stat = `/proc/${pid}/stat`
    expect(spied({ protect: [process.ppid, 'sshd'] })).toEqual([stat, 'read', 'close'])
    expect(spied({ onlyUids: [0] })).toEqual([stat, `/proc/${pid}/status`, 'read', 'close', 'read', 'close'])
  })
})

describe('protect takes a name', () => {
  test('and spares each process that has it, and no other', async () => {
    using first = await startNamed('postgres')
    using second = await startNamed('postgres')
    await expectSpared(first, { protect: ['sshd', 'postgres'] }, 'protected')
    await expectSpared(second, { protect: [1, 'postgres'] }, 'protected')
    await expectKilled(first, { protect: ['postgre', 'postgres ', 'Postgres', 'ostgres', ' postgres', '', 'POSTGRES'] })
    await expectKilled(second, { protect: [] })
  })

  test.each([
    ['of ASCII', 'a-rather-long-name-of-a-daemon'],
    ['of letters that take two bytes each, the last cut in half', 'ééééééééé'],
    ['of 16 bytes', '0123456789abcdef'],
  ])('that is longer than the kernel keeps, %s', async (_, name) => {
    using target = await startNamed(name)
    await expectSpared(target, { protect: [name] }, 'protected')
    await expectSpared(target, { protect: [`${name} and more`] }, 'protected')
    await expectKilled(target, { protect: [Buffer.from(name).toString('latin1', 0, 14)] })
  })

  test('of which digits alone are a PID, also as a string', async () => {
    using target = startSleeper()
    using named = await startNamed(`${target.pid}`)
    await expectSpared(target, { protect: [`${target.pid}`] }, 'protected')
    await expectKilled(named, { protect: [`${target.pid}`, target.pid] })
  })

  test('that keeps accidents off, and no process that takes another one', async () => {
    using target = await startNamed('sshd')
    await expectSpared(target, { protect: ['sshd'] }, 'protected')
    using renamed = await startNamed('not-sshd')
    await expectKilled(renamed, { protect: ['sshd'] })
  })

  test('and does not change what is gone', async () => {
    using zombie = await startZombie()
    expect(nodeSignaller({ protect: ['perl'] }).terminate(zombie.pid)).toMatchObject({ code: 'ESRCH' })
  })
})

describe('where /proc cannot be read', () => {
  const MESSAGE = /^This system's own \/proc cannot be read\. .+\.$/

  test.each<[string, NodeSignallerOptions]>([
    ['a name', { protect: ['sshd'] }],
    ['a name beside PIDs', { protect: [process.ppid, 'sshd'] }],
    ['a user', { onlyUids: [0] }],
    ['no user', { onlyUids: [] }],
  ])('there is no signaller with %s in its policy', async (_, options) => {
    using __ = await fakeFiles({ '/proc/self/stat': { error: 'ENOENT' } })
    expect(() => nodeSignaller(options)).toThrow(MESSAGE)
  })

  test.each(['darwin', 'win32', 'freebsd'] as const)('as on %s, PIDs can be protected and nothing else', (platform) => {
    using _ = pretendPlatform(platform)
    expect(() => nodeSignaller({ protect: ['launchd'] })).toThrow(MESSAGE)
    expect(() => nodeSignaller({ onlyUids: [501] })).toThrow(MESSAGE)
    expect(nodeSignaller({ protect: [process.ppid, '4'] }).terminate(process.ppid)).toMatchObject({ code: 'EPERM' })
  })

  test('what is hidden is not signalled where users are listed', async () => {
    using target = startSleeper()
    using _ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { error: 'EACCES' } })
    expect(nodeSignaller({ onlyUids: [0] }).terminate(target.pid)).toEqual({ code: 'EPERM', reason: 'hidden' })
    expect(target.isAlive()).toBe(true)
  })
})

test('in a worker of node:cluster the parent is protected, and its siblings are not', async () => {
  using folder = emptyFolder()
  const lib = new URL('../../build/dist/lib/node/index.js', import.meta.url)
  // The first worker lives until it is killed by the second.
  writeFileSync(
    folder.file('cluster.mjs'),
    `import cluster from 'node:cluster'
     import { nodeSignaller } from '${lib}'
     if (cluster.isPrimary) {
       const victim = cluster.fork()
       victim.once('online', () => {
         const killer = cluster.fork({ VICTIM: victim.process.pid })
         killer.once('message', (outcomes) => {
           victim.once('exit', (_code, signal) => {
             process.send({ ...outcomes, signal })
             killer.kill()
             process.disconnect()
           })
         })
       })
     } else if (process.env.VICTIM) {
       const { terminate } = nodeSignaller()
       process.send({ parent: terminate(process.ppid), sibling: terminate(Number(process.env.VICTIM)) })
     }`,
  )
  const primary = fork(folder.file('cluster.mjs'))
  const [said] = await once(primary, 'message')
  expect(said).toMatchObject({
    parent: { code: 'EPERM', reason: 'protected' },
    sibling: { code: 'sent' },
    signal: 'SIGTERM',
  })
  await once(primary, 'exit')
})
