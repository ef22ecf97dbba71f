import { readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { Conditions, OutcomeCode } from '../../src/app/signaller.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { latestStart, procLook } from '../../src/node/proc.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { emptyFolder } from '../support/folder.ts'
import { startSleeper, startWithoutLeader, startZombie } from '../support/processes.ts'
import { reapedPid, startTarget } from '../support/target.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const isLinux = process.platform === 'linux'
const isRoot = process.getuid?.() === 0
const NOBODY = 65_534
const SOMEBODY = { uid: 65_533, gid: 65_533 }

const { terminate, terminateWith: maybeTerminateWith } = nodeSignaller()

/** Under conditions, of which a test names those that it is about. */
const terminateWith = (pid: number, conditions: Partial<Conditions>, { terminateWith } = nodeSignaller()) => {
  if (!terminateWith) throw new Error('This system has no terminateWith')
  return terminateWith(pid, { stopWaiting: [], ...conditions })
}

const look = procLook() ?? (() => undefined)

/** How a /proc says that there is no such process. */
const ABSENT = ['ENOENT', 'ESRCH']
/** How it says that this one is not for us to see. */
const CLOSED = ['EACCES', 'EPERM']

const MOUNT = '22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw'
const OTHER_MOUNT = '29 22 0:26 / /proc/sys/fs/binfmt_misc rw,relatime shared:13 - autofs systemd-1 rw'
/** What says that /proc may hide processes, or does not say that it shows them all. */
type Hiding = [what: string, mountinfo: { text: string } | { error: string }]
const HIDING: Hiding[] = [
  ['mounted with hidepid', { text: `${MOUNT},hidepid=invisible\n${OTHER_MOUNT}\n` }],
  ['mounted with hidepid and a group', { text: `${OTHER_MOUNT}\n${MOUNT},gid=27,hidepid=2\n` }],
  ['mounted with hidepid over one without', { text: `${MOUNT}\n${MOUNT},hidepid=4\n` }],
  ['of which the mounts say nothing', { text: `${OTHER_MOUNT}\n` }],
  ['of which the mounts are not told', { error: 'EACCES' }],
]

const future = () => new Date(Date.now() + 60_000)

/** Runs one synchronous piece as a user who may not signal others. */
const asNobody = <Result>(run: () => Result) => {
  process.seteuid?.(NOBODY)
  try {
    return run()
  } finally {
    process.seteuid?.(0)
  }
}

/** From here on nothing is signalled, whatever the code under test does. */
const disarmKill = () => vi.spyOn(process, 'kill').mockReturnValue(true)

const systemError = (code: string) => Object.assign(new Error(`kill ${code}`), { code })

describe('a process', () => {
  test('receives SIGTERM', async () => {
    using target = startSleeper()
    const command = isLinux ? readFileSync(`/proc/${target.pid}/comm`, 'utf8').trim() : undefined
    expect(terminate(target.pid)).toEqual({ code: 'sent', command })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('that traps SIGTERM was sent it all the same', async () => {
    using target = await startTarget("process.on('SIGTERM', () => { console.log('trapped') })")
    const trapped = new Promise((resolve) => target.child.stdout?.once('data', (said) => resolve(String(said).trim())))
    expect(terminate(target.pid)).toMatchObject({ code: 'sent' })
    expect(await trapped).toBe('trapped')
    expect(target.isAlive()).toBe(true)
  })

  test('that is gone is ESRCH', async () => {
    const pid = await reapedPid()
    expect(terminate(pid)).toEqual({ code: 'ESRCH' })
    expect(await terminateWith(pid, { startedBefore: future() })).toEqual({ code: 'ESRCH' })
  })

  test("of another user's is EPERM", async ({ skip }) => {
    skip(!isRoot, 'only root can start a process of another user')
    using target = startSleeper(SOMEBODY)
    const refused = { code: 'EPERM', command: look(target.pid)?.command }
    expect(asNobody(() => terminate(target.pid))).toEqual(refused)
    expect(await asNobody(() => terminateWith(target.pid, { startedBefore: future(), waitMs: 60_000 }))).toEqual(
      refused,
    )
    expect(target.isAlive()).toBe(true)
  })

  test('whose signal fails in an unexpected way is an exception, the very one', async () => {
    using target = startSleeper()
    const { pid } = target
    const hopeless = systemError('EINVAL')
    for (const thrown of [hopeless, 'no Error', undefined]) {
      vi.spyOn(process, 'kill').mockImplementation(() => {
        throw thrown
      })
      const caught = await new Promise((resolve) => {
        try {
          resolve(terminate(pid))
        } catch (error) {
          resolve({ error })
        }
      })
      expect(caught).toEqual({ error: thrown })
      await expect(terminateWith(pid, { startedBefore: future() })).rejects.toBe(thrown)
      vi.restoreAllMocks()
    }
  })
})

describe('what is not a PID', () => {
  test.each([0, -0, -1, 1.5, Number.NaN, 2 ** 31, 2 ** 32 + 1, Number.POSITIVE_INFINITY])(
    'is a RangeError: %f',
    async (pid) => {
      const kill = disarmKill()
      expect(() => terminate(pid)).toThrow(new RangeError(`Not a PID: ${pid}`))
      await expect(terminateWith(pid, { waitMs: 0 })).rejects.toThrow(RangeError)
      expect(kill).not.toHaveBeenCalled()
    },
  )

  test('is one up to 2147483647', async () => {
    using _ = await fakeFiles({ [`/proc/${2 ** 31 - 1}/stat`]: { error: 'EACCES' } })
    vi.spyOn(process, 'kill').mockImplementation(() => {
      throw systemError('ESRCH')
    })
    expect(terminate(2 ** 31 - 1)).toEqual({ code: 'ESRCH' })
    expect(process.kill).toHaveBeenCalledExactlyOnceWith(2 ** 31 - 1, 'SIGTERM')
  })
})

describe('protected', () => {
  test.each([
    ['PID 1', 1],
    ['this process', process.pid],
  ])('is %s', async (_, pid) => {
    const kill = disarmKill()
    for (const signaller of [nodeSignaller(), nodeSignaller({ protect: [2 ** 31 - 1] })]) {
      expect(signaller.terminate(pid)).toMatchObject({ code: 'EPERM' })
      expect(await terminateWith(pid, { startedBefore: future(), waitMs: 0 }, signaller)).toMatchObject({
        code: 'EPERM',
      })
    }
    expect(kill).not.toHaveBeenCalled()
  })

  test('is each PID of the option', async () => {
    using first = startSleeper()
    using second = startSleeper()
    const signaller = nodeSignaller({ protect: [first.pid, second.pid] })
    for (const { pid, isAlive } of [first, second]) {
      expect(signaller.terminate(pid)).toEqual({ code: 'EPERM', command: look(pid)?.command })
      expect(await terminateWith(pid, { startedBefore: future() }, signaller)).toMatchObject({ code: 'EPERM' })
      expect(isAlive()).toBe(true)
    }
    expect(terminate(first.pid)).toMatchObject({ code: 'sent' })
    expect(await first.ended).toBe('SIGTERM')
  })

  test('is what started after the time, too: policy comes first', async () => {
    using target = startSleeper()
    const signaller = nodeSignaller({ protect: [target.pid] })
    expect(await terminateWith(target.pid, { startedBefore: new Date(0) }, signaller)).toMatchObject({ code: 'EPERM' })
  })
})

describe.runIf(isLinux)('by the look at /proc', () => {
  test('a zombie is ESRCH', async () => {
    const kill = disarmKill()
    using zombie = await startZombie()
    expect(terminate(zombie.pid)).toEqual({ code: 'ESRCH', command: 'perl' })
    expect(await terminateWith(zombie.pid, { startedBefore: future() })).toMatchObject({ code: 'ESRCH' })
    expect(kill).not.toHaveBeenCalled()
  })

  test('a process that runs on after its first thread has exited is signalled', async ({ skip }) => {
    using target = await startWithoutLeader()
    skip(!target, 'neither a perl with threads nor a python3 is here')
    if (!target) return
    const { pid, child } = target
    const ended = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)))
    expect(await terminateWith(pid, { startedBefore: future(), waitMs: 5000 })).toMatchObject({ code: 'exited' })
    expect(await ended).toBe('SIGTERM')
  })

  test("a thread's id is ESRCH and not signalled: that would end its process", async () => {
    using target = await startTarget()
    const threads = readdirSync(`/proc/${target.pid}/task`).map(Number)
    const kill = disarmKill()
    const others = threads.filter((id) => id !== target.pid)
    expect(others.length).toBeGreaterThan(0)
    for (const id of others) {
      expect(terminate(id)).toMatchObject({ code: 'ESRCH' })
      expect(await terminateWith(id, { startedBefore: future() })).toMatchObject({ code: 'ESRCH' })
    }
    expect(kill).not.toHaveBeenCalled()
  })

  test.each<[string, string, OutcomeCode]>([
    ['a kernel thread', 'S 0 0 0 0 -1 2129984', 'EPERM'],
    ['a process that is just being reaped', 'X 0 0 0 0 -1 4228364', 'ESRCH'],
  ])('%s is refused', async (_, from3to9, code) => {
    const kill = disarmKill()
    const from10 = `0 0 0 0 0 0 0 0 20 0 1 0 20 0 0 18446744073709551615 0 0 0 0 0 0 0 2147483647 0 1${' 0'.repeat(17)}\n`
    using __ = await fakeFiles({ '/proc/2/stat': { text: `2 (kthreadd) ${from3to9} ${from10}` } })
    expect(terminate(2)).toEqual({ code, command: 'kthreadd' })
    expect(await terminateWith(2, { startedBefore: future() })).toMatchObject({ code })
    expect(kill).not.toHaveBeenCalled()
  })

  test('a kernel thread of this machine is EPERM', ({ skip }) => {
    skip(look(2)?.command !== 'kthreadd', 'PID 2 is no kernel thread here')
    const kill = disarmKill()
    expect(terminate(2)).toEqual({ code: 'EPERM', command: 'kthreadd' })
    expect(kill).not.toHaveBeenCalled()
  })

  test.each(['a) R 1 (x 2', ') Z 0 0 0', '((', ') ', 'a b', 'a\nb\t', 'é😀', '-1'])(
    'a process named %j is itself',
    async (name) => {
      using folder = emptyFolder()
      symlinkSync('/bin/sleep', folder.file(name))
      const before = Date.now()
      using target = startSleeper({}, folder.file(name))
      const { pid } = target
      expect(await terminateWith(pid, { startedBefore: new Date(before - 1) })).toEqual({
        code: 'ESRCH',
        command: name,
      })
      expect(await terminateWith(pid, { startedBefore: future() })).toEqual({ code: 'sent', command: name })
      expect(await target.ended).toBe('SIGTERM')
    },
  )

  test('a failure to look is an exception, and nothing is signalled', async () => {
    using target = startSleeper()
    const signaller = nodeSignaller()
    const kill = disarmKill()
    for (const error of ['EMFILE', 'ENFILE', 'ENOMEM', 'EIO']) {
      using _ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { error } })
      expect(() => signaller.terminate(target.pid)).toThrow(error)
      await expect(terminateWith(target.pid, { waitMs: 0 }, signaller)).rejects.toThrow(error)
    }
    expect(kill).not.toHaveBeenCalled()
  })

  test.each(['', 'x', '1 (x) R 1 1 1'])('so is %j in place of a stat', async (text) => {
    using target = startSleeper()
    using _ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { text } })
    const signaller = nodeSignaller()
    const kill = disarmKill()
    expect(() => signaller.terminate(target.pid)).toThrow(`Not the stat of a process: ${text}`)
    expect(kill).not.toHaveBeenCalled()
  })

  test('a look leaves no file open', async () => {
    const pid = await reapedPid()
    const open = () => readdirSync('/proc/self/fd').length
    const before = open()
    for (let i = 0; i < 20; i++) {
      look(process.pid)
      look(pid)
    }
    expect(open()).toBe(before)
  })
})

describe.runIf(isLinux)('startedBefore', () => {
  test('is met by a process that started before', async () => {
    using target = startSleeper()
    await new Promise((resolve) => setTimeout(resolve, 25))
    expect(await terminateWith(target.pid, { startedBefore: new Date() })).toMatchObject({ code: 'sent' })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('is not met by a process that started after', async () => {
    const before = new Date()
    using target = startSleeper()
    const kill = disarmKill()
    for (const startedBefore of [before, new Date(0), new Date(-1)])
      expect(await terminateWith(target.pid, { startedBefore, waitMs: 0 })).toEqual({
        code: 'ESRCH',
        command: look(target.pid)?.command,
      })
    expect(kill).not.toHaveBeenCalled()
    expect(target.isAlive()).toBe(true)
  })

  test('may lie in the future', async () => {
    using target = startSleeper()
    expect(await terminateWith(target.pid, { startedBefore: new Date(8.64e15) })).toMatchObject({ code: 'sent' })
  })

  test('is met by a process that started at that very moment, to the millisecond', async () => {
    using target = startSleeper()
    const { startTicks = Number.NaN } = look(target.pid) ?? {}
    using _ = await fakeFiles({ '/proc/uptime': { text: `${startTicks / 100 + 60} 0.00\n` } })
    vi.useFakeTimers({ toFake: ['Date'] })
    const start = Date.now() - 60_000 + 11
    expect(await terminateWith(target.pid, { startedBefore: new Date(start - 1) })).toMatchObject({ code: 'ESRCH' })
    expect(await terminateWith(target.pid, { startedBefore: new Date(start) })).toMatchObject({ code: 'sent' })
  })
})

describe.runIf(isLinux)('the latest start', () => {
  // In microseconds; what is cut off of each reading goes through both ends of its range.
  const cutOff = [0, 1, 999, 1000, 5000, 9000, 9999]
  const cases = cutOff.flatMap((start) => cutOff.flatMap((age) => cutOff.map((boot) => ({ start, age, boot }))))

  test('is never before the true one and at most 21 ms after, whatever the readings cut off', () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const late = cases.map((cut) => {
      const boot = 1.7e15 + cut.boot
      const start = 351_350_000 + cut.start
      const uptime = start + 86_400e6 + cut.age
      vi.setSystemTime(Math.floor((boot + uptime) / 1000))
      vi.mocked(readFileSync).mockReturnValueOnce(`${(Math.floor(uptime / 1e4) / 100).toFixed(2)} 0.00\n`)
      const seen = { command: '', terminated: false, thread: false, kernelThread: false }
      return latestStart({ ...seen, startTicks: Math.floor(start / 1e4) }) - (boot + start) / 1000
    })
    // A millisecond of the wall clock, as a double, is right to a quarter of a microsecond.
    expect(Math.min(...late)).toBeGreaterThan(-0.001)
    expect(Math.max(...late)).toBeLessThan(21.001)
  })

  test('is later, on the safe side, where time passes between the readings', () => {
    const start = 1_700_000_000_000
    vi.useFakeTimers({ toFake: ['Date'] })
    const startAfterPauses = (before: number, after: number) => {
      vi.setSystemTime(start + 60_000)
      vi.mocked(readFileSync).mockImplementationOnce(() => {
        vi.setSystemTime(Date.now() + before + after)
        return `${(60_000 + before) / 1000} 0.00\n`
      })
      const seen = { command: '', terminated: false, thread: false, kernelThread: false }
      return latestStart({ ...seen, startTicks: 0 }) - start
    }
    expect(startAfterPauses(0, 0)).toBe(11)
    expect(startAfterPauses(500, 0)).toBe(11)
    expect(startAfterPauses(0, 500)).toBe(511)
  })

  test('of real processes is never before they were started and within 40 ms after', () => {
    const started: Disposable[] = []
    try {
      const late = Array.from({ length: 60 }, () => {
        const before = Date.now()
        const target = startSleeper()
        const after = Date.now()
        started.push(target)
        const seen = look(target.pid)
        const latest = seen ? latestStart(seen) : Number.NaN
        return { least: latest - before, most: latest - after }
      })
      const most = late.map(({ most }) => most).sort((a, b) => a - b)
      const [least, median, worst] = [Math.min(...late.map(({ least }) => least)), most[30], most.at(-1)]
      console.log(
        `latest start: ${least} ms after the spawn began at least; after it ended ${median} at the median, ${worst} at most`,
      )
      expect(least).toBeGreaterThanOrEqual(0)
      // Not the worst: a machine with other work to do may let time pass between the readings.
      expect(median).toBeLessThanOrEqual(40)
    } finally {
      for (const target of started) target[Symbol.dispose]()
    }
  })
})

const hiddenBy: [error: string, ...Hiding][] = [
  ...CLOSED.map((error): [string, ...Hiding] => [error, 'that hides nothing', { text: MOUNT }]),
  ...[...ABSENT, ...CLOSED].flatMap((error) => HIDING.map((hiding): [string, ...Hiding] => [error, ...hiding])),
]

describe.runIf(isLinux)('where /proc may hide a process', () => {
  test.each(hiddenBy)(
    'with %s of a /proc %s, kill(2) decides, and conditions fail closed',
    async (error, _, mounts) => {
      using target = startSleeper()
      using __ = await fakeFiles({ '/proc/self/mountinfo': mounts, [`/proc/${target.pid}/stat`]: { error } })
      const signaller = nodeSignaller()
      const kill = vi.spyOn(process, 'kill')
      const conditions = { startedBefore: future(), waitMs: 0 }
      expect(await terminateWith(target.pid, conditions, signaller)).toEqual({ code: 'no startedBefore' })
      expect(await terminateWith(target.pid, { startedBefore: future() }, signaller)).toEqual({
        code: 'no startedBefore',
      })
      expect(await terminateWith(target.pid, { waitMs: 0 }, signaller)).toEqual({ code: 'no waitMs' })
      // Asked, not signalled.
      expect(new Set(kill.mock.calls.map(([, signal]) => signal))).toEqual(new Set([0]))
      expect(signaller.terminate(target.pid)).toEqual({ code: 'sent', command: undefined })
      expect(await target.ended).toBe('SIGTERM')
    },
  )
})

describe.runIf(isLinux && isRoot)("where /proc hides another user's process", () => {
  test.each(hiddenBy)('with %s of a /proc %s, it is EPERM under every condition', async (error, _, mounts) => {
    using target = startSleeper(SOMEBODY)
    using __ = await fakeFiles({ '/proc/self/mountinfo': mounts, [`/proc/${target.pid}/stat`]: { error } })
    const signaller = nodeSignaller()
    expect(asNobody(() => signaller.terminate(target.pid))).toEqual({ code: 'EPERM' })
    for (const conditions of [{ startedBefore: future() }, { waitMs: 60_000 }])
      expect(await asNobody(() => terminateWith(target.pid, conditions, signaller))).toEqual({ code: 'EPERM' })
    expect(target.isAlive()).toBe(true)
  })
})

describe.runIf(isLinux)('where /proc hides nothing', () => {
  test.each(ABSENT)('what it does not show (%s) is gone: no signal, not even 0', async (error) => {
    using target = startSleeper()
    using _ = await fakeFiles({
      '/proc/self/mountinfo': { text: `${OTHER_MOUNT}\n${MOUNT}\n` },
      [`/proc/${target.pid}/stat`]: { error },
    })
    const signaller = nodeSignaller()
    const kill = disarmKill()
    expect(signaller.terminate(target.pid)).toEqual({ code: 'ESRCH' })
    for (const conditions of [{ startedBefore: future() }, { waitMs: 0 }])
      expect(await terminateWith(target.pid, conditions, signaller)).toEqual({ code: 'ESRCH' })
    expect(kill).not.toHaveBeenCalled()
  })

  test('is so here', async () => {
    const kill = disarmKill()
    expect(terminate(await reapedPid())).toEqual({ code: 'ESRCH' })
    expect(kill).not.toHaveBeenCalled()
  })
})

describe('where /proc is not this process’s own', () => {
  test.each([
    ['missing', { error: 'ENOENT' }],
    ['closed by the runtime', { error: 'NotCapable' }],
    ['of another PID namespace', { text: `${process.pid}1 (node) R 0` }],
    ['empty', { text: '' }],
  ])('%s, there are no conditions and no look', async (_, self) => {
    using target = startSleeper()
    const disagreeing = { text: `${target.pid} (x) Z 0 0 0 0 -1 2129984` }
    using __ = await fakeFiles({ '/proc/self/stat': self, [`/proc/${target.pid}/stat`]: disagreeing })
    const signaller = nodeSignaller({ protect: [process.ppid] })
    expect(signaller).not.toHaveProperty('terminateWith')
    const kill = disarmKill()
    for (const pid of [1, process.pid, process.ppid]) expect(signaller.terminate(pid)).toEqual({ code: 'EPERM' })
    expect(() => signaller.terminate(0)).toThrow(RangeError)
    expect(kill).not.toHaveBeenCalled()
    kill.mockRestore()
    expect(signaller.terminate(target.pid)).toEqual({ code: 'sent' })
    expect(await target.ended).toBe('SIGTERM')
    expect(signaller.terminate(await reapedPid())).toEqual({ code: 'ESRCH' })
  })

  test.runIf(isLinux)('is not so here', () => {
    expect(maybeTerminateWith).toBeInstanceOf(Function)
  })
})
