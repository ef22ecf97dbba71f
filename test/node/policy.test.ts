import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
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

/** Expects no signal and no dry run that says so, whatever is asked: policy comes before the conditions. */
const expectSpared = async (pid: number, options: NodeSignallerOptions, reason = 'protected') => {
  const kill = vi.spyOn(process, 'kill')
  const { terminate } = nodeSignaller(options)
  for (const asked of [{}, { instance: 'x' }, { waitMs: 60_000 }, { dryRun: true } as const])
    expect(await terminate(pid, asked)).toMatchObject({ code: 'EPERM', reason })
  expect(kill).not.toHaveBeenCalled()
  kill.mockRestore()
}

const expectKilled = async ({ pid, ended }: Target, options: NodeSignallerOptions) => {
  expect(nodeSignaller(options).terminate(pid)).toMatchObject({ code: 'sent' })
  expect(await ended).toBe('SIGTERM')
}

describe('protected', () => {
  test('are PID 1 and this process, always', async () => {
    for (const protect of [undefined, [], [process.ppid, 'sshd']])
      for (const pid of [1, process.pid]) await expectSpared(pid, { protect })
  })

  test('is each PID of the option, a zombie too, and no other PID', async () => {
    using first = startSleeper()
    using second = startSleeper()
    using named = await startNamed(`${first.pid}`)
    using zombie = await startZombie()
    const protect = [first.pid, `${second.pid}`, zombie.pid]
    for (const pid of [first.pid, second.pid, zombie.pid]) await expectSpared(pid, { protect })
    await expectKilled(named, { protect })
    expect([first.isAlive(), second.isAlive()]).toEqual([true, true])
  })

  test('is each process with a name of the option, and no other', async () => {
    using first = await startNamed('postgres')
    using second = await startNamed('postgres')
    for (const { pid } of [first, second]) await expectSpared(pid, { protect: [1, 'sshd', 'postgres'] })
    await expectKilled(first, { protect: ['postgre', 'postgres ', 'Postgres', 'ostgres', ' postgres', '', 'POSTGRES'] })
    await expectKilled(second, { protect: [] })
    using zombie = await startZombie()
    expect(nodeSignaller({ protect: ['sleep'] }).terminate(zombie.pid)).toMatchObject({ code: 'ESRCH' })
  })

  test.each(['a-rather-long-name-of-a-daemon', '0123456789abcdef', 'ééééééééé'])(
    'is the name %s, which the kernel cuts',
    async (name) => {
      using target = await startNamed(name)
      await expectSpared(target.pid, { protect: [name] })
      await expectSpared(target.pid, { protect: [`${name} and more`] })
      await expectKilled(target, { protect: [Buffer.from(name).toString('latin1', 0, 14)] })
    },
  )

  test('is the parent of a worker of node:cluster, and not its siblings', async () => {
    using folder = emptyFolder()
    const lib = new URL('../../build/dist/lib/node/index.js', import.meta.url)
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
})

describe('onlyUids', () => {
  beforeEach(needsRoot)

  test.each([
    ["Alice's process", ALICE, ALICE],
    ["root's process", 0, 0],
    ['a setuid program of root', ALICE, 0],
    ['a server of root that has put on a user', 0, ALICE],
    ['a setuid program of another user', ALICE, BOB],
  ])('spares %s unless both its user ids are listed', async (_, real, effective) => {
    using target = await startAs(real, effective)
    const others = [0, ALICE, BOB, 1]
    await expectSpared(target.pid, { onlyUids: [] }, 'uid')
    for (const id of [real, effective])
      await expectSpared(target.pid, { onlyUids: others.filter((other) => other !== id) }, 'uid')
    await expectKilled(target, { onlyUids: [...new Set([real, effective])] })
  })

  test.each([
    ['tells half of them', { text: 'Uid:\t0\n' }, 'uid'],
    ['is hidden', { error: 'EACCES' }, 'hidden'],
  ])('spares a process if the status, which has the user ids, %s', async (_, status, reason) => {
    using target = startSleeper()
    using __ = await fakeFiles({ [`/proc/${target.pid}/status`]: status })
    await expectSpared(target.pid, { onlyUids: [0] }, reason)
  })

  test('changes nothing for what is gone', async () => {
    using zombie = await startZombie()
    const { terminate } = nodeSignaller({ onlyUids: [ALICE] })
    expect(terminate(zombie.pid)).toMatchObject({ code: 'ESRCH', reason: 'zombie' })
    expect(terminate(await reapedPid())).toEqual({ code: 'ESRCH', reason: 'gone' })
  })
})

describe('without a readable /proc, names and user ids are an error', () => {
  const NEEDED = 'Names to protect and user ids need'
  const WHAT_TO_DO = ': leave out --only-uid, and name PIDs alone in --protect.'
  const options: NodeSignallerOptions[] = [{ protect: [process.ppid, 'sshd'] }, { onlyUids: [0] }, { onlyUids: [] }]

  test('on Linux', async () => {
    using _ = await fakeFiles({ '/proc/self/stat': { error: 'ENOENT' } })
    for (const each of options)
      expect(() => nodeSignaller(each)).toThrow(`${NEEDED} a readable /proc of this system${WHAT_TO_DO}`)
  })

  test.each(['darwin', 'win32', 'freebsd'] as const)('on %s, where no /proc could help', (platform) => {
    using _ = pretendPlatform(platform)
    for (const each of options) expect(() => nodeSignaller(each)).toThrow(`${NEEDED} Linux${WHAT_TO_DO}`)
    const { terminate } = nodeSignaller({ protect: [process.ppid, '4'] })
    expect(terminate(process.ppid)).toEqual({ code: 'EPERM', reason: 'protected' })
  })
})
