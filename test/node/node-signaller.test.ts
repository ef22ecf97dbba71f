import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync, symlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CONDITIONS, type Delivery, type Outcome, type Signaller } from '../../src/app/signaller.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { statReader } from '../../src/node/stat.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { emptyFolder } from '../support/folder.ts'
import { hasProc, needsLinux, needsRoot } from '../support/needs.ts'
import { pretendPlatform } from '../support/platform.ts'
import { startSleeper, startWithoutLeader, startZombie, statField } from '../support/processes.ts'
import { reapedPid, startTarget } from '../support/target.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const NOBODY = 65_534
const SOMEBODY = { uid: 65_533, gid: 65_533 }

const readStat = statReader()
const nameOf = (pid: number) => readStat(pid)?.command

const future = () => new Date(Date.now() + 60_000)
const systemError = (code: string) => Object.assign(new Error(`kill ${code}`), { code })

type Signalling = Pick<ReturnType<typeof nodeSignaller>, 'terminate'>

/** Records SIGTERM in place of sending it; signal 0 goes through. */
const disarmKill = () => {
  const kill = process.kill.bind(process)
  const sigterms: number[] = []
  vi.spyOn(process, 'kill').mockImplementation((pid, signal) => {
    if (signal === 0) return kill(pid, 0)
    sigterms.push(pid)
    return true
  })
  return sigterms
}

/** Expects a refusal under every condition that is met or has time, and that nothing is signalled. */
const expectRefused = async (
  pid: number,
  outcome: Outcome,
  { terminate }: Signalling = nodeSignaller(),
  run: <Result>(call: () => Result) => Result = (call) => call(),
) => {
  const sigterms = disarmKill()
  for (const conditions of [{}, { startedBefore: future() }, { waitMs: 60_000 }, { dryRun: true } as const]) {
    const onSignal = vi.fn()
    expect(await run(() => terminate(pid, { ...conditions, onSignal }))).toEqual(outcome)
    expect(onSignal).not.toHaveBeenCalled()
  }
  expect(sigterms).toEqual([])
  vi.mocked(process.kill).mockRestore()
}

/** Runs one synchronous piece as a user who may not signal others. */
const asNobody = <Result>(run: () => Result) => {
  process.seteuid?.(NOBODY)
  try {
    return run()
  } finally {
    process.seteuid?.(0)
  }
}

test('the signaller fits the contract', () => {
  const signaller: Signaller = nodeSignaller()
  expect(signaller.terminate).toBeInstanceOf(Function)
})

describe('a process', () => {
  test('receives SIGTERM, and the outcome is there at once', async () => {
    using target = startSleeper()
    const command = hasProc ? readFileSync(`/proc/${target.pid}/comm`, 'utf8').trim() : undefined
    // A promise would not be equal.
    expect(nodeSignaller().terminate(target.pid)).toEqual({ code: 'sent', command })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('that traps SIGTERM was sent it all the same', async () => {
    using target = await startTarget("process.on('SIGTERM', () => { console.log('trapped') })")
    const trapped = new Promise((resolve) => target.child.stdout?.once('data', (said) => resolve(String(said).trim())))
    expect(nodeSignaller().terminate(target.pid)).toMatchObject({ code: 'sent' })
    expect(await trapped).toBe('trapped')
    expect(target.isAlive()).toBe(true)
  })

  test('that is gone is ESRCH, without a reason', async (context) => {
    needsLinux(context)
    await expectRefused(await reapedPid(), { code: 'ESRCH' })
  })

  test("that is another user's is EPERM, without a reason", async (context) => {
    needsRoot(context)
    using target = startSleeper(SOMEBODY)
    const { terminate } = nodeSignaller()
    const command = nameOf(target.pid)
    for (const conditions of [{}, { startedBefore: future() }, { waitMs: 60_000 }])
      expect(asNobody(() => terminate(target.pid, conditions))).toEqual({ code: 'EPERM', command })
    expect(target.isAlive()).toBe(true)
  })

  test.each([systemError('EINVAL'), 'no Error', undefined])(
    'whose signal fails with %s is an exception, the very one',
    (thrown) => {
      using target = startSleeper()
      vi.spyOn(process, 'kill').mockImplementation(() => {
        throw thrown
      })
      const onSignal = vi.fn()
      const caught = (conditions: Partial<Delivery>) => {
        try {
          return nodeSignaller().terminate(target.pid, { ...conditions, onSignal })
        } catch (error) {
          return { error }
        }
      }
      for (const conditions of [{}, ...(hasProc ? [{ startedBefore: future() }] : []), { waitMs: 60_000 }])
        expect(caught(conditions)).toEqual({ error: thrown })
      expect(onSignal).not.toHaveBeenCalled()
    },
  )
})

describe('onSignal', () => {
  test.for([{}, { startedBefore: future() }, { waitMs: 60_000 }])(
    'under %j is called once, right after the signal and before terminate returns',
    async (conditions, context) => {
      if ('startedBefore' in conditions) needsLinux(context)
      using target = startSleeper()
      const events: unknown[] = []
      const kill = process.kill.bind(process)
      vi.spyOn(process, 'kill').mockImplementation((pid, signal) => {
        events.push(signal)
        return kill(pid, signal)
      })
      const progress = { code: 'sent', command: nameOf(target.pid) }
      const outcome = nodeSignaller().terminate(target.pid, {
        ...conditions,
        onSignal: (told) => void events.push(told),
      })
      events.push('returned')
      expect(events).toEqual(['SIGTERM', progress, 'returned'])
      await outcome
    },
  )
})

describe('what is not a PID', () => {
  test.each([0, -0, -1, 1.5, Number.NaN, 2 ** 31, 2 ** 32 + 1, Number.POSITIVE_INFINITY])(
    'is a RangeError: %f',
    (pid) => {
      const kill = vi.spyOn(process, 'kill').mockReturnValue(true)
      for (const conditions of [{}, { startedBefore: future() }, { waitMs: 0 }])
        expect(() => nodeSignaller().terminate(pid, conditions)).toThrow(new RangeError(`Not a PID: ${pid}`))
      expect(kill).not.toHaveBeenCalled()
    },
  )

  test('begins above 2147483647', async () => {
    using _ = await fakeFiles({ [`/proc/${2 ** 31 - 1}/stat`]: { error: 'EACCES' } })
    vi.spyOn(process, 'kill').mockImplementation(() => {
      throw systemError('ESRCH')
    })
    expect(nodeSignaller().terminate(2 ** 31 - 1)).toEqual({ code: 'ESRCH' })
    expect(process.kill).toHaveBeenCalledExactlyOnceWith(2 ** 31 - 1, 'SIGTERM')
  })
})

describe('protected', () => {
  test.each([
    ['PID 1', 1],
    ['this process', process.pid],
  ])('is %s', async (_, pid) => {
    const refused = { code: 'EPERM', reason: 'protected', command: nameOf(pid) } as const
    await expectRefused(pid, refused)
    await expectRefused(pid, refused, nodeSignaller({ protect: [2 ** 31 - 1] }))
  })

  test('is each PID of the option, and no other', async () => {
    using first = startSleeper()
    using second = startSleeper()
    const signaller = nodeSignaller({ protect: [first.pid, second.pid] })
    for (const { pid } of [first, second])
      await expectRefused(pid, { code: 'EPERM', reason: 'protected', command: nameOf(pid) }, signaller)
    using third = startSleeper()
    expect(signaller.terminate(third.pid)).toMatchObject({ code: 'sent' })
    expect(await third.ended).toBe('SIGTERM')
    expect([first.isAlive(), second.isAlive()]).toEqual([true, true])
  })

  test('is also what has terminated, or started after the time: policy comes first', async (context) => {
    needsLinux(context)
    using target = startSleeper()
    using zombie = await startZombie()
    const { terminate } = nodeSignaller({ protect: [target.pid, zombie.pid] })
    for (const pid of [target.pid, zombie.pid])
      expect(terminate(pid, { startedBefore: new Date(0) })).toMatchObject({ code: 'EPERM', reason: 'protected' })
  })
})

describe('the stat on Linux', () => {
  beforeEach(needsLinux)

  /** Fields 3 to 52 of a stat, of which a test names those that it is about. */
  const fields = ({ state = 'S', flags = 4_228_364, threads = 1 }) =>
    `${state} 0 0 0 0 -1 ${flags} 0 0 0 0 0 0 0 0 0 0 ${threads} 0 20 0 0 18446744073709551615 0 0 0 0 0 0 0 2147483647 0 1 0 0 17${' 0'.repeat(14)}\n`

  test('of a zombie: ESRCH', async () => {
    using zombie = await startZombie()
    await expectRefused(zombie.pid, { code: 'ESRCH', reason: 'zombie', command: 'sleep' })
  })

  test('of a process that runs on after its first thread has exited: signalled', async ({ skip }) => {
    using target = await startWithoutLeader()
    if (!target) return skip('needs a perl with threads or a python3')
    const { pid, child } = target
    const ended = new Promise((resolve) => child.once('exit', (_code, signal) => resolve(signal)))
    expect(await nodeSignaller().terminate(pid, { startedBefore: future(), waitMs: 5000 })).toMatchObject({
      code: 'exited',
    })
    expect(await ended).toBe('SIGTERM')
  })

  test('of a process with ten or more threads: signalled', async () => {
    using target = await startTarget("process.env.UV_THREADPOOL_SIZE = '16'; require('fs').stat('/', () => {})")
    expect(Number(statField(target.pid, 20))).toBeGreaterThanOrEqual(10)
    expect(nodeSignaller().terminate(target.pid, { startedBefore: future() })).toMatchObject({ code: 'sent' })
    expect(await target.ended).toBe('SIGTERM')
  })

  test.each([2, 10, 123])(
    'of one whose first thread has exited while others run, %i in all: signalled',
    async (threads) => {
      const sigterms = disarmKill()
      using _ = await fakeFiles({ '/proc/2/stat': { text: `2 (x) ${fields({ state: 'Z', threads })}` } })
      expect(nodeSignaller().terminate(2)).toEqual({ code: 'sent', command: 'x' })
      expect(sigterms).toEqual([2])
    },
  )

  test("of a thread: ESRCH, as the signal would end its process, and so of psys-kill's own", async () => {
    using target = await startTarget()
    const threadsOf = (pid: number) => readdirSync(`/proc/${pid}/task`).map(Number)
    const threads = [target.pid, process.pid].flatMap((pid) => threadsOf(pid).filter((id) => id !== pid))
    expect(threads.length).toBeGreaterThan(1)
    for (const id of threads) await expectRefused(id, { code: 'ESRCH', reason: 'thread', command: nameOf(id) })
  })

  test.each<[string, Outcome, Parameters<typeof fields>[0]]>([
    ['a kernel thread', { code: 'EPERM', reason: 'kernel thread' }, { flags: 2_129_984 }],
    ['a process that is just being reaped', { code: 'ESRCH', reason: 'zombie' }, { state: 'X', threads: 0 }],
  ])('of %s: refused', async (_, outcome, named) => {
    using __ = await fakeFiles({ '/proc/2/stat': { text: `2 (kthreadd) ${fields(named)}` } })
    await expectRefused(2, { ...outcome, command: 'kthreadd' })
  })

  test('of a kernel thread of this machine: EPERM', async ({ skip }) => {
    skip(nameOf(2) !== 'kthreadd', 'needs to see the kernel threads')
    await expectRefused(2, { code: 'EPERM', reason: 'kernel thread', command: 'kthreadd' })
  })

  test.each(['a) R 1 (x 2', ') Z 0 0 0', '((', ') ', 'a b', 'a\nb\t', 'é😀', '-1'])(
    'of a process named %j: it is itself',
    async (name) => {
      using folder = emptyFolder()
      symlinkSync('/bin/sleep', folder.file(name))
      const before = new Date(Date.now() - 1)
      using target = startSleeper({}, folder.file(name))
      const { terminate } = nodeSignaller()
      const later = { code: 'ESRCH', reason: 'started later', command: name }
      expect(terminate(target.pid, { startedBefore: before })).toEqual(later)
      expect(terminate(target.pid, { startedBefore: future() })).toEqual({ code: 'sent', command: name })
      expect(await target.ended).toBe('SIGTERM')
    },
  )

  test.each(['EMFILE', 'ENFILE', 'ENOMEM', 'EIO'])(
    'that cannot be read (%s): an exception, and no signal',
    async (error) => {
      using target = startSleeper()
      const { terminate } = nodeSignaller()
      const kill = vi.spyOn(process, 'kill')
      using _ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { error } })
      for (const conditions of [{}, { startedBefore: future() }, { waitMs: 0 }])
        expect(() => terminate(target.pid, conditions)).toThrow(error)
      expect(kill).not.toHaveBeenCalled()
    },
  )

  test.each(['', 'x', 'PID (x) R 1 1 1', `PID1 (x) ${fields({})}`, `1 (x) ${fields({})}`])(
    'that is %j, and not that of the process: an exception, and no signal',
    async (text) => {
      using target = startSleeper()
      const { terminate } = nodeSignaller()
      const kill = vi.spyOn(process, 'kill')
      const stat = text.replace('PID', String(target.pid))
      using _ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { text: stat } })
      expect(() => terminate(target.pid)).toThrow(`Not the stat of process ${target.pid}: ${stat}`)
      expect(kill).not.toHaveBeenCalled()
    },
  )

  test('leaves no file open', async () => {
    const pid = await reapedPid()
    const open = () => readdirSync('/proc/self/fd').length
    const before = open()
    for (let i = 0; i < 20; i++) {
      readStat(process.pid)
      readStat(pid)
    }
    expect(open()).toBe(before)
  })

  test('is read once, and nothing else between it and the signal', () => {
    using target = startSleeper()
    const { terminate } = nodeSignaller()
    const kill = disarmKill()
    for (const startedBefore of [undefined, future()]) {
      const files = [readFileSync, openSync, readSync, closeSync, statSync].map((file) => vi.mocked(file).mockClear())
      vi.mocked(process.kill).mockClear()
      terminate(target.pid, { startedBefore })
      const calls = files.flatMap(({ mock }) => mock.invocationCallOrder.map((at, i) => ({ at, args: mock.calls[i] })))
      const last = calls.sort((a, b) => a.at - b.at).slice(-3)
      expect(last[0]?.args).toEqual([`/proc/${target.pid}/stat`, 'r'])
      expect(vi.mocked(process.kill).mock.invocationCallOrder).toEqual([(last[2]?.at ?? 0) + 1])
      if (!startedBefore) expect(calls).toHaveLength(3)
    }
    expect(kill).toEqual([target.pid, target.pid])
  })
})

describe('startedBefore', () => {
  beforeEach(needsLinux)

  test('is supported here, as all conditions are', () => {
    expect(nodeSignaller().supports).toEqual(CONDITIONS)
  })

  test('is met by a process that started before', async () => {
    using target = startSleeper()
    await sleep(25)
    expect(nodeSignaller().terminate(target.pid, { startedBefore: new Date() })).toMatchObject({ code: 'sent' })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('may lie in the future', () => {
    using target = startSleeper()
    const startedBefore = new Date(8.64e15)
    expect(nodeSignaller().terminate(target.pid, { startedBefore })).toMatchObject({ code: 'sent' })
  })

  test.each<[string, (before: Date) => Date]>([
    ['a moment ago', (before) => before],
    ['at the epoch', () => new Date(0)],
    ['before it', () => new Date(-1)],
    ['at no valid time', () => new Date(Number.NaN)],
  ])('%s is not met by a process that has started since', (_, time) => {
    const before = new Date()
    using target = startSleeper()
    const sigterms = disarmKill()
    const outcome = nodeSignaller().terminate(target.pid, { startedBefore: time(before), waitMs: 0 })
    expect(outcome).toEqual({ code: 'ESRCH', reason: 'started later', command: nameOf(target.pid) })
    expect(sigterms).toEqual([])
  })

  test('is met by a process that started at that very moment, to the millisecond', async () => {
    using target = startSleeper()
    const startTicks = Number(statField(target.pid, 22))
    using _ = await fakeFiles({ '/proc/uptime': { text: `${startTicks / 100 + 60} 0.00\n` } })
    vi.useFakeTimers({ toFake: ['Date'] })
    const start = Date.now() - 60_000 + 11
    // Each with a reading of its own: a boot that is kept is some milliseconds late.
    const ask = (time: number) => nodeSignaller().terminate(target.pid, { startedBefore: new Date(time) })
    expect(ask(start - 1)).toMatchObject({ code: 'ESRCH' })
    expect(ask(start)).toMatchObject({ code: 'sent' })
  })

  test('is not supported where uptime is made up, and signals nothing; the rest is as ever', async () => {
    using target = startSleeper()
    using zombie = await startZombie()
    const ownStart = Number(statField(process.pid, 22)) / 100
    using _ = await fakeFiles({ '/proc/uptime': { text: `${ownStart + process.uptime() - 1} 0.00\n` } })
    const { supports, terminate } = nodeSignaller()
    expect(supports).toEqual(['waitMs', 'dryRun', 'command'])
    const kill = vi.spyOn(process, 'kill')
    const command = nameOf(target.pid)
    for (const waitMs of [undefined, 0])
      expect(terminate(target.pid, { startedBefore: future(), waitMs })).toEqual({ code: 'no startedBefore', command })
    expect(terminate(zombie.pid)).toMatchObject({ code: 'ESRCH', reason: 'zombie' })
    expect(kill).not.toHaveBeenCalled()
    expect(await terminate(target.pid, { waitMs: 5000 })).toEqual({ code: 'exited', command })
  })

  test('that cannot be told for the moment is an exception, and no signal', async () => {
    using target = startSleeper()
    const { terminate } = nodeSignaller()
    const kill = vi.spyOn(process, 'kill')
    using _ = await fakeFiles({ '/proc/uptime': { error: 'EMFILE' } })
    expect(() => terminate(target.pid, { startedBefore: future() })).toThrow('EMFILE')
    expect(kill).not.toHaveBeenCalled()
  })
})

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
const HIDDEN_BY: [error: string, ...Hiding][] = [
  ...CLOSED.map((error): [string, ...Hiding] => [error, 'that hides nothing', { text: MOUNT }]),
  ...[...ABSENT, ...CLOSED].flatMap((error) => HIDING.map((hiding): [string, ...Hiding] => [error, ...hiding])),
]

describe.each(HIDDEN_BY)('where a process may be hidden, with %s of a /proc %s', (error, _, mounts) => {
  beforeEach(needsLinux)

  const hide = (pid: number) => fakeFiles({ '/proc/self/mountinfo': mounts, [`/proc/${pid}/stat`]: { error } })

  test('startedBefore cannot be told; without it kill(2) decides, and its exit is told', async () => {
    using target = startSleeper()
    using _ = await hide(target.pid)
    const { supports, terminate } = nodeSignaller()
    expect(supports).toEqual(CONDITIONS)
    const sigterms = disarmKill()
    for (const waitMs of [undefined, 0])
      expect(terminate(target.pid, { startedBefore: future(), waitMs })).toEqual({ code: 'no startedBefore' })
    expect(sigterms).toEqual([])
    vi.mocked(process.kill).mockRestore()
    expect(await terminate(target.pid, { waitMs: 5000 })).toEqual({ code: 'exited' })
    expect(await target.ended).toBe('SIGTERM')
    for (const startedBefore of [undefined, future()])
      expect(terminate(target.pid, { startedBefore })).toEqual({ code: 'ESRCH' })
  })

  test('it is EPERM, hidden, where there are PIDs to protect: it may be a thread of theirs', async () => {
    using target = startSleeper()
    using _ = await hide(target.pid)
    const signaller = nodeSignaller({ protect: [process.ppid] })
    await expectRefused(target.pid, { code: 'EPERM', reason: 'hidden' }, signaller)
    target.child.kill()
    await target.ended
    await expectRefused(target.pid, { code: 'ESRCH' }, signaller)
  })

  test("psys-kill's own threads are EPERM", async () => {
    const thread = Number(readdirSync('/proc/self/task').find((id) => Number(id) !== process.pid))
    using _ = await hide(thread)
    await expectRefused(thread, { code: 'EPERM', reason: 'protected' })
  })

  test("another user's is EPERM under every condition", async (context) => {
    needsRoot(context)
    using target = startSleeper(SOMEBODY)
    using _ = await hide(target.pid)
    for (const protect of [[], [process.ppid]]) {
      const { terminate } = nodeSignaller({ protect })
      for (const conditions of [{}, { startedBefore: future() }, { waitMs: 60_000 }])
        expect(asNobody(() => terminate(target.pid, conditions))).toEqual({ code: 'EPERM' })
    }
    expect(target.isAlive()).toBe(true)
  })
})

describe('where /proc hides nothing', () => {
  beforeEach(needsLinux)

  test.each(ABSENT)('what it does not show (%s) is gone: no signal, not even 0', async (error) => {
    using target = startSleeper()
    const mounts = { text: `${OTHER_MOUNT}\n${MOUNT}\n` }
    using _ = await fakeFiles({ '/proc/self/mountinfo': mounts, [`/proc/${target.pid}/stat`]: { error } })
    const kill = vi.spyOn(process, 'kill')
    for (const protect of [[], [process.ppid]]) {
      const { terminate } = nodeSignaller({ protect })
      for (const conditions of [{}, { startedBefore: future() }, { waitMs: 0 }])
        expect(terminate(target.pid, conditions)).toEqual({ code: 'ESRCH' })
    }
    expect(kill).not.toHaveBeenCalled()
  })

  test('is so here', async () => {
    const pid = await reapedPid()
    const kill = vi.spyOn(process, 'kill')
    expect(nodeSignaller().terminate(pid)).toEqual({ code: 'ESRCH' })
    expect(kill).not.toHaveBeenCalled()
  })
})

/** What a signaller does that sees no /proc: the contract, by kill(2) alone. */
const expectNoProc = async (protect: readonly number[] = []) => {
  const signaller = nodeSignaller({ protect })
  const { supports, terminate } = signaller
  expect(supports).toEqual(['waitMs', 'dryRun'])
  for (const pid of [1, process.pid, ...protect])
    await expectRefused(pid, { code: 'EPERM', reason: 'protected' }, signaller)
  using first = startSleeper()
  const kill = vi.spyOn(process, 'kill')
  for (const waitMs of [undefined, 0])
    expect(terminate(first.pid, { startedBefore: future(), waitMs })).toEqual({ code: 'no startedBefore' })
  expect(kill).not.toHaveBeenCalled()
  expect(terminate(first.pid)).toEqual({ code: 'sent' })
  expect(await first.ended).toBe('SIGTERM')
  for (const conditions of [{}, { waitMs: 60_000 }]) expect(terminate(first.pid, conditions)).toEqual({ code: 'ESRCH' })
  using second = startSleeper()
  expect(await terminate(second.pid, { waitMs: 5000 })).toEqual({ code: 'exited' })
  using zombie = await startZombie()
  expect(await terminate(zombie.pid, { waitMs: 50 })).toEqual({ code: 'running' })
}

describe('where /proc is not our own on Linux', () => {
  beforeEach(needsLinux)

  describe.each([
    ['missing', { error: 'ENOENT' }],
    ['closed by the runtime', { error: 'NotCapable' }],
    ['of another PID namespace', { text: `${process.pid}1 (node) R 0` }],
    ['empty', { text: '' }],
  ])('as it is %s', (_, self) => {
    test('kill(2) decides, and signal 0 tells an exit', async () => {
      using _ = await fakeFiles({ '/proc/self/stat': self })
      await expectNoProc()
    })

    test('all but what is gone is EPERM where there are PIDs to protect', async () => {
      using target = startSleeper()
      const disagreeing = { text: `${target.pid} (x) Z 0 0 0 0 -1 2129984` }
      using _ = await fakeFiles({ '/proc/self/stat': self, [`/proc/${target.pid}/stat`]: disagreeing })
      const signaller = nodeSignaller({ protect: [process.ppid] })
      await expectRefused(process.ppid, { code: 'EPERM', reason: 'protected' }, signaller)
      await expectRefused(target.pid, { code: 'EPERM', reason: 'hidden' }, signaller)
      target.child.kill()
      await target.ended
      await expectRefused(target.pid, { code: 'ESRCH' }, signaller)
    })
  })
})

describe('on other systems', () => {
  test.for(['darwin', 'freebsd'] as const)(
    '%s: kill(2) decides, and signal 0 tells an exit',
    async (platform, context) => {
      // To start a zombie.
      needsLinux(context)
      using _ = pretendPlatform(platform)
      await expectNoProc([process.ppid])
    },
  )

  test('android: as on Linux', (context) => {
    needsLinux(context)
    using _ = pretendPlatform('android')
    expect(nodeSignaller().supports).toEqual(CONDITIONS)
  })

  test("darwin: a process that becomes another user's while its exit is awaited runs", async () => {
    using target = startSleeper()
    using _ = pretendPlatform('darwin')
    vi.spyOn(process, 'kill').mockImplementation((_pid, signal) => {
      if (signal === 0) throw systemError('EPERM')
      return true
    })
    expect(await nodeSignaller().terminate(target.pid, { waitMs: 50 })).toEqual({ code: 'running' })
  })

  test('win32: what is not a multiple of four is ESRCH, as the kill call would round it', async () => {
    using _ = pretendPlatform('win32')
    const running: ReturnType<typeof startSleeper>[] = []
    try {
      while (!running.some(({ pid }) => pid % 4 === 0) || running.length < 4) running.push(startSleeper())
      const { terminate } = nodeSignaller()
      for (const { pid } of running.filter(({ pid }) => pid % 4 !== 0)) {
        await expectRefused(pid, { code: 'ESRCH' })
        await expectRefused(pid, { code: 'EPERM', reason: 'protected' }, nodeSignaller({ protect: [pid] }))
      }
      for (const { pid, ended } of running.filter(({ pid }) => pid % 4 === 0)) {
        expect(await terminate(pid, { waitMs: 5000 })).toEqual({ code: 'exited' })
        expect(await ended).toBe('SIGTERM')
      }
      expect(running.filter(({ pid, isAlive }) => pid % 4 !== 0 && !isAlive())).toEqual([])
    } finally {
      for (const target of running) target[Symbol.dispose]()
    }
  })
})
