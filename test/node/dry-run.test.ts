import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Delivery, ProcessSeen } from '../../src/app/signaller.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { needsLinux, needsRoot } from '../support/needs.ts'
import { pretendPlatform } from '../support/platform.ts'
import { startAs, startCommand, startNamed, startSleeper, startZombie, statField } from '../support/processes.ts'
import { reapedPid, startTarget, targetOf } from '../support/target.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const nameOf = (pid: number) => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()

type Signaller = Pick<ReturnType<typeof nodeSignaller>, 'terminate'>

/** What a dry run tells of a process that it would signal. */
const look = (pid: number, { terminate }: Signaller = nodeSignaller()): ProcessSeen => {
  const outcome = terminate(pid, { dryRun: true })
  if ('then' in outcome || !outcome.process) throw new Error(`It told ${JSON.stringify(outcome)}`)
  return outcome.process
}

/** What a client makes of it for the kill. */
const meant = ({ command, startedAt = '' }: ProcessSeen) => ({ command, startedBefore: new Date(startedAt) })

/** Says how many SIGTERMs it got at each SIGWINCH. */
const COUNTS =
  "let n = 0; process.on('SIGTERM', () => n++); process.on('SIGWINCH', () => process.stdout.write(String(n)))"

/** Calls `run` and tells how many SIGTERMs the process got meanwhile, once they are as many as expected. */
const sigtermsOf = async (run: (pid: number) => unknown, atLeast = 0) => {
  using target = await startTarget(COUNTS)
  await run(target.pid)
  const ask = () => {
    const said = new Promise<number>((resolve) => target.child.stdout?.once('data', (count) => resolve(Number(count))))
    target.child.kill('SIGWINCH')
    return said
  }
  // Again, as another thread of the process may take the second signal before the first is counted.
  await ask()
  let count = await ask()
  while (count < atLeast) count = await ask()
  return count
}

describe('a dry run', () => {
  test('signals nothing, whatever else is asked, and says at once that it would', async () => {
    const { terminate } = nodeSignaller()
    const future = new Date(Date.now() + 60_000)
    const all: Partial<Delivery>[] = [{}, { waitMs: 60_000 }, { comment: 'just looking' }]
    if (process.platform === 'linux') all.push({ startedBefore: future }, { startedBefore: future, waitMs: 0 })
    const onSignal = vi.fn()
    const count = await sigtermsOf((pid) => {
      for (let i = 0; i < 200; i++)
        // A promise has no code.
        for (const conditions of all)
          expect(terminate(pid, { ...conditions, dryRun: true, onSignal })).toMatchObject({ code: 'would send' })
    })
    expect(count).toBe(0)
    expect(onSignal).not.toHaveBeenCalled()
    // That one would have been counted.
    expect(await sigtermsOf((pid) => terminate(pid, { dryRun: undefined }), 1)).toBe(1)
  })

  test('calls kill(2) with signal 0 and nothing else', () => {
    using target = startSleeper()
    const kill = vi.spyOn(process, 'kill')
    nodeSignaller().terminate(target.pid, { dryRun: true, waitMs: 5 })
    expect(kill.mock.calls).toEqual([[target.pid, 0]])
  })

  test("of another user's process is EPERM, and of one that is gone ESRCH", async (context) => {
    needsRoot(context)
    using target = startSleeper({ uid: 65_533, gid: 65_533 })
    process.seteuid?.(65_534)
    try {
      expect(nodeSignaller().terminate(target.pid, { dryRun: true })).toMatchObject({ code: 'EPERM' })
    } finally {
      process.seteuid?.(0)
    }
    expect(nodeSignaller().terminate(await reapedPid(), { dryRun: true })).toEqual({ code: 'ESRCH' })
  })
})

describe('on Linux a dry run', () => {
  beforeEach(needsLinux)

  test('tells the name, the effective user and the start', async (context) => {
    needsRoot(context)
    using target = await startAs(65_531, 65_532)
    expect(nodeSignaller().terminate(target.pid, { dryRun: true })).toEqual({
      code: 'would send',
      command: 'perl',
      process: { command: 'perl', uid: 65_532, startedAt: expect.stringMatching(/^\d{4}-\d\d-\d\dT.+\.\d{3}Z$/) },
    })
  })

  test('tells nothing of what would get no signal', async () => {
    using zombie = await startZombie()
    using target = startSleeper()
    const { terminate } = nodeSignaller({ protect: [target.pid] })
    for (const pid of [zombie.pid, target.pid, process.pid, 1])
      expect(terminate(pid, { dryRun: true })).not.toHaveProperty('process')
  })

  test('tells no start where uptime is made up', async () => {
    using target = startSleeper()
    const ownStart = Number(statField(process.pid, 22)) / 100
    using _ = await fakeFiles({ '/proc/uptime': { text: `${ownStart + process.uptime() - 1} 0.00\n` } })
    expect(look(target.pid)).toEqual({ command: 'sleep', uid: process.getuid?.() })
  })

  test('tells no user where the status has none', async () => {
    using target = startSleeper()
    using _ = await fakeFiles({ [`/proc/${target.pid}/status`]: { text: 'Name:\tsleep\n' } })
    expect(look(target.pid).uid).toBeUndefined()
  })

  test('tells of no process that /proc hides, and kill(2) decides', async () => {
    using target = startSleeper()
    using _ = await fakeFiles({ [`/proc/${target.pid}/status`]: { error: 'EACCES' } })
    const { terminate } = nodeSignaller()
    expect(terminate(target.pid, { dryRun: true })).toEqual({ code: 'would send' })
    // What is asked cannot be told then.
    for (const dryRun of [undefined, true] as const) {
      using __ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { error: 'EACCES' } })
      expect(terminate(target.pid, { dryRun, command: 'sleep' })).toEqual({ code: 'no command' })
    }
    target.child.kill()
    await target.ended
    using __ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { error: 'EACCES' } })
    expect(terminate(target.pid, { dryRun: true, command: 'sleep' })).toEqual({ code: 'ESRCH' })
  })

  test('tells a start that passes for the process itself, every time, and is right to a tenth of a second', async () => {
    const before = Date.now()
    using target = startSleeper()
    const after = Date.now()
    await sleep(150)
    const signaller = nodeSignaller()
    const late: number[] = []
    for (let i = 0; i < 2000; i++) {
      const seen = look(target.pid, signaller)
      const start = meant(seen).startedBefore.getTime()
      expect(start).toBeGreaterThanOrEqual(before)
      late.push(start - after)
      expect(signaller.terminate(target.pid, { ...meant(seen), dryRun: true })).toMatchObject({ code: 'would send' })
    }
    // Not the worst: a machine with other work to do may let time pass between the readings.
    expect(late.sort((a, b) => a - b)[1000]).toBeLessThanOrEqual(100)
    expect(signaller.terminate(target.pid, meant(look(target.pid, signaller)))).toMatchObject({ code: 'sent' })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('tells a start that no process passes that has started since, however young the one it saw', async () => {
    const signaller = nodeSignaller()
    for (let i = 0; i < 40; i++) {
      using seen = startSleeper()
      // From less than a tick to beyond what is added.
      await sleep(i % 3 === 0 ? 3 * i : 0)
      const { startedBefore } = meant(look(seen.pid, signaller))
      expect(startedBefore.getTime()).toBeLessThanOrEqual(Date.now())
      using later = startSleeper()
      expect(signaller.terminate(later.pid, { startedBefore })).toMatchObject({
        code: 'ESRCH',
        reason: 'started later',
      })
      expect(later.isAlive()).toBe(true)
    }
  })

  test.each([20, 21, 100, 5000])('tells no start after the look, %i ms after it', async (age) => {
    using target = startSleeper()
    const startTicks = Number(statField(target.pid, 22))
    const signaller = nodeSignaller()
    using _ = await fakeFiles({ '/proc/uptime': { text: `${(startTicks * 10 + age) / 1000} 0.00\n` } })
    vi.useFakeTimers({ toFake: ['Date'], now: 1_800_000_000_000 })
    const start = 1_800_000_000_000 - age
    const { startedBefore } = meant(look(target.pid, signaller))
    expect(startedBefore.getTime()).toBe(Math.min(start + 11 + 70, 1_800_000_000_000))
  })
})

describe('without /proc a dry run', () => {
  test.each([
    ['on Linux', process.platform],
    ['on another system', 'darwin' as const],
  ])('goes by signal 0 %s', async (_, platform) => {
    using __ = pretendPlatform(platform)
    using ___ = await fakeFiles({ '/proc/self/stat': { error: 'ENOENT' } })
    using target = startSleeper()
    const { supports, terminate } = nodeSignaller()
    expect(supports).toEqual(['waitMs', 'dryRun'])
    expect(terminate(target.pid, { dryRun: true })).toEqual({ code: 'would send' })
    expect(target.isAlive()).toBe(true)
    expect(terminate(await reapedPid(), { dryRun: true })).toEqual({ code: 'ESRCH' })
    expect(terminate(process.pid, { dryRun: true })).toEqual({ code: 'EPERM', reason: 'protected' })
    for (const dryRun of [undefined, true] as const)
      expect(terminate(target.pid, { dryRun, command: 'sleep' })).toEqual({ code: 'no command' })
  })
})

/** Starts a perl that does something to its name at a SIGUSR1. */
const startChanging = async (change: string) => {
  const { child } = await startCommand([
    'perl',
    '-e',
    `$SIG{USR1} = sub { ${change} }; $| = 1; print 1; sleep 600 while 1`,
  ])
  const target = targetOf(child)
  return {
    ...target,
    change: async () => {
      child.kill('SIGUSR1')
      await expect.poll(() => nameOf(target.pid)).not.toBe('perl')
    },
  }
}

describe('command', () => {
  beforeEach(needsLinux)

  test('is met by a process of that very name alone', async () => {
    using target = startSleeper()
    const { terminate } = nodeSignaller()
    const kill = vi.spyOn(process, 'kill')
    for (const command of ['', 'slee', 'sleep ', 'Sleep', '/bin/sleep', 'sleep\0', 'sleep 600', 'sleepsleepsleepsleep'])
      expect(terminate(target.pid, { command, waitMs: 0 })).toEqual({
        code: 'ESRCH',
        reason: 'other command',
        command: 'sleep',
      })
    expect(kill).not.toHaveBeenCalled()
    expect(terminate(target.pid, { command: 'sleep' })).toEqual({ code: 'sent', command: 'sleep' })
    expect(await target.ended).toBe('SIGTERM')
  })

  test.each([
    ['empty', ''],
    ['with parentheses', 'a) R 1 (x 2'],
    ['of two lines', 'a\nb\t'],
    ['of 15 bytes', 'x'.repeat(15)],
    ['of 16', '0123456789abcdef'],
    ['longer', 'a-rather-long-name-of-a-daemon'],
    ['cut within a letter', 'ééééééééé'],
    ['cut within another', 'xyz😀😀😀😀'],
  ])('is compared as the kernel keeps it: %s', async (_, name) => {
    using target = await startNamed(name)
    const { terminate } = nodeSignaller()
    // As it was given, and as a look tells it.
    for (const command of [name, look(target.pid).command])
      expect(terminate(target.pid, { command, dryRun: true })).toMatchObject({ code: 'would send' })
    expect(terminate(target.pid, { command: 'perl' })).toMatchObject({ code: 'ESRCH' })
    expect(terminate(target.pid, { command: name })).toMatchObject({ code: 'sent' })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('is not met any more by a process that has taken another name, or executed another program', async () => {
    const { terminate } = nodeSignaller()
    for (const change of ["$0 = 'renamed'", "exec 'sleep', '600'"]) {
      using changing = await startChanging(change)
      // Younger, it might not be told from a successor.
      await sleep(30)
      const seen = look(changing.pid)
      expect(seen.command).toBe('perl')
      await changing.change()
      const outcome = terminate(changing.pid, meant(seen))
      expect(outcome).toMatchObject({ code: 'ESRCH', reason: 'other command' })
      expect(changing.isAlive()).toBe(true)
      // The start of a process stays the same.
      expect(terminate(changing.pid, { startedBefore: meant(seen).startedBefore })).toMatchObject({ code: 'sent' })
    }
  })
})
