import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CONDITIONS, type Delivery, type Outcome, type Signaller } from '../../src/app/signaller.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { hasProc, needsLinux, needsRoot } from '../support/needs.ts'
import { pretendPlatform } from '../support/platform.ts'
import { startSleeper, startZombie } from '../support/processes.ts'
import { reapedPid, startTarget } from '../support/target.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())

const SOMEBODY = { uid: 65_533, gid: 65_533 }
const MAX_PID = 2 ** 31 - 1
const systemError = (code: string) => Object.assign(new Error(`kill ${code}`), { code })
const nameOf = (pid: number) => (hasProc ? readFileSync(`/proc/${pid}/comm`, 'utf8').trim() : undefined)

/** What a request may ask for everywhere. */
const ASKED: Partial<Delivery>[] = [{}, { waitMs: 60_000 }, { dryRun: true }]

/** Records SIGTERM instead of sending it. Signal 0 goes through. */
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

/** Expects a refusal, whatever is asked, and no signal. */
const expectRefused = async (pid: number, outcome: Outcome, { terminate }: Signaller = nodeSignaller()) => {
  const sigterms = disarmKill()
  const onSignal = vi.fn()
  for (const asked of ASKED) expect(await terminate(pid, { ...asked, stopWaiting: [], onSignal })).toEqual(outcome)
  expect([sigterms, onSignal.mock.calls]).toEqual([[], []])
  vi.mocked(process.kill).mockRestore()
}

/** Runs something synchronous as a user who may not signal others. */
const asNobody = <Result>(run: () => Result) => {
  process.seteuid?.(65_534)
  try {
    return run()
  } finally {
    process.seteuid?.(0)
  }
}

describe('a process', () => {
  test('receives SIGTERM, and the outcome is there at once', async () => {
    using target = startSleeper()
    const command = nameOf(target.pid)
    // A promise would not be equal.
    expect(nodeSignaller().terminate(target.pid)).toEqual({ code: 'sent', command })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('that traps SIGTERM got it too', async () => {
    using target = await startTarget("process.on('SIGTERM', () => { console.log('trapped') })")
    const trapped = new Promise((resolve) => target.child.stdout?.once('data', (said) => resolve(String(said).trim())))
    expect(nodeSignaller().terminate(target.pid)).toMatchObject({ code: 'sent' })
    expect(await trapped).toBe('trapped')
    expect(target.isAlive()).toBe(true)
  })

  test.for(ASKED.slice(0, 2))('is reported right after the signal, before terminate returns: %j', async (asked) => {
    using target = startSleeper()
    const events: unknown[] = []
    const kill = process.kill.bind(process)
    vi.spyOn(process, 'kill').mockImplementation((pid, signal) => {
      events.push(signal)
      return kill(pid, signal)
    })
    const progress = { code: 'sent', command: nameOf(target.pid) }
    const onSignal: Delivery['onSignal'] = (told) => void events.push(told)
    const outcome = nodeSignaller().terminate(target.pid, { ...asked, onSignal })
    events.push('returned')
    expect(events).toEqual(['SIGTERM', progress, 'returned'])
    await outcome
  })

  test("that is another user's is EPERM, without a reason", async (context) => {
    needsRoot(context)
    using target = startSleeper(SOMEBODY)
    const { terminate } = nodeSignaller()
    for (const asked of ASKED)
      expect(asNobody(() => terminate(target.pid, asked))).toEqual({ code: 'EPERM', command: nameOf(target.pid) })
    expect(target.isAlive()).toBe(true)
  })

  test('whose stat says so gets no signal: a zombie, a thread, what is gone', async (context) => {
    needsLinux(context)
    using zombie = await startZombie()
    await expectRefused(zombie.pid, { code: 'ESRCH', reason: 'zombie', command: 'sleep' })
    const thread = Number(readdirSync('/proc/self/task').find((id) => Number(id) !== process.pid))
    await expectRefused(thread, { code: 'ESRCH', reason: 'thread', command: nameOf(thread) })
    await expectRefused(await reapedPid(), { code: 'ESRCH', reason: 'gone' })
  })

  test.each([systemError('EINVAL'), 'no Error', undefined])(
    'whose signal fails with %s is that exception',
    (thrown) => {
      using target = startSleeper()
      vi.spyOn(process, 'kill').mockImplementation(() => {
        throw thrown
      })
      const onSignal = vi.fn()
      for (const asked of ASKED) {
        let caught: unknown = 'nothing'
        try {
          nodeSignaller().terminate(target.pid, { ...asked, onSignal })
        } catch (error) {
          caught = error
        }
        expect(caught).toBe(thrown)
      }
      expect(onSignal).not.toHaveBeenCalled()
    },
  )
})

describe('the kill call', () => {
  test('gets nothing but an integer from 1 to 2147483647; all else is a RangeError', async () => {
    using _ = await fakeFiles({ '/proc/self/stat': { error: 'ENOENT' } })
    const kill = vi.spyOn(process, 'kill').mockReturnValue(true)
    const numbers = [0, -0, -1, 1.5, MAX_PID, MAX_PID + 1, 2 ** 32, 2 ** 32 + 1, -(2 ** 31), Number.NaN]
    const pids = fc.oneof(fc.constantFrom<unknown[]>(...numbers, '5', '', [5], true, null), fc.integer(), fc.anything())
    const terminate: (pid: never, asked: Partial<Delivery>) => unknown = nodeSignaller().terminate
    const property = fc.property(pids, fc.constantFrom({}, { dryRun: true } as const), (pid, asked) => {
      fc.pre(pid !== 1 && pid !== process.pid)
      kill.mockClear()
      const call = () => terminate(pid as never, asked)
      if (typeof pid === 'number' && Number.isInteger(pid) && pid > 0 && pid <= MAX_PID) {
        expect(call()).toEqual({ code: asked.dryRun ? 'would send' : 'sent' })
        expect(kill.mock.calls).toEqual([[pid, asked.dryRun ? 0 : 'SIGTERM']])
      } else {
        expect(call).toThrow(RangeError)
        expect(kill).not.toHaveBeenCalled()
      }
    })
    fc.assert(property, { numRuns: 1000 })
  })

  test('comes right after the stat, which is read once', (context) => {
    needsLinux(context)
    using target = startSleeper()
    const { terminate } = nodeSignaller()
    disarmKill()
    for (const asked of [{}, { command: 'sleep' }]) {
      const mocks = [readFileSync, openSync, readSync, closeSync, statSync].map((file) => vi.mocked(file).mockClear())
      vi.mocked(process.kill).mockClear()
      expect(terminate(target.pid, asked)).toMatchObject({ code: 'sent' })
      const calls = mocks.flatMap(({ mock }) => mock.invocationCallOrder).sort((a, b) => a - b)
      expect(calls).toHaveLength(3)
      expect(vi.mocked(openSync).mock.calls).toEqual([[`/proc/${target.pid}/stat`, 'r']])
      expect(vi.mocked(process.kill).mock.invocationCallOrder).toEqual([(calls[2] ?? 0) + 1])
    }
  })

  test('does not come if the stat cannot be read for the moment: an exception', async (context) => {
    needsLinux(context)
    using target = startSleeper()
    const { terminate } = nodeSignaller({ onlyUids: [0] })
    const kill = vi.spyOn(process, 'kill')
    for (const name of ['stat', 'status']) {
      using _ = await fakeFiles({ [`/proc/${target.pid}/${name}`]: { error: 'EMFILE' } })
      for (const asked of ASKED) expect(() => terminate(target.pid, asked)).toThrow('EMFILE')
    }
    expect(kill).not.toHaveBeenCalled()
  })
})

describe('if /proc may hide a process', () => {
  beforeEach(needsLinux)

  const hide = (pid: number) => fakeFiles({ [`/proc/${pid}/stat`]: { error: 'EACCES' } })

  test('kill(2) decides, and identity is a 501', async () => {
    using target = startSleeper()
    using _ = await hide(target.pid)
    const { supports, terminate } = nodeSignaller()
    expect(supports).toEqual(CONDITIONS)
    const sigterms = disarmKill()
    for (const name of ['instance', 'command'] as const)
      for (const asked of ASKED)
        expect(terminate(target.pid, { ...asked, [name]: 'x' })).toEqual({ code: `no ${name}` })
    expect(terminate(target.pid, { dryRun: true })).toEqual({ code: 'would send' })
    expect(sigterms).toEqual([])
    vi.mocked(process.kill).mockRestore()
    expect(await terminate(target.pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
    for (const asked of [...ASKED, { instance: 'x' }]) expect(terminate(target.pid, asked)).toEqual({ code: 'ESRCH' })
  })

  test.each([{ protect: [process.ppid] }, { onlyUids: [0] }])('it is EPERM under %j', async (options) => {
    using target = startSleeper()
    using _ = await hide(target.pid)
    await expectRefused(target.pid, { code: 'EPERM', reason: 'hidden' }, nodeSignaller(options))
    target.child.kill()
    await target.ended
    await expectRefused(target.pid, { code: 'ESRCH' }, nodeSignaller(options))
  })

  test("psys-kill's own threads are protected", async () => {
    const thread = Number(readdirSync('/proc/self/task').find((id) => Number(id) !== process.pid))
    using _ = await hide(thread)
    await expectRefused(thread, { code: 'EPERM', reason: 'protected' })
  })

  test("another user's is EPERM", async (context) => {
    needsRoot(context)
    using target = startSleeper(SOMEBODY)
    using _ = await hide(target.pid)
    const signallers = [nodeSignaller(), nodeSignaller({ protect: [process.ppid] })]
    for (const { terminate } of signallers)
      for (const asked of [...ASKED, { instance: 'x' }])
        expect(asNobody(() => terminate(target.pid, asked))).toEqual({ code: 'EPERM' })
    expect(target.isAlive()).toBe(true)
  })
})

describe('without /proc', () => {
  // To start a zombie.
  beforeEach(needsLinux)

  /** What a signaller does that sees no /proc. */
  const expectNoProc = async () => {
    const { supports, terminate } = nodeSignaller()
    expect(supports).toEqual(['waitMs', 'dryRun'])
    for (const pid of [1, process.pid]) await expectRefused(pid, { code: 'EPERM', reason: 'protected' })
    using first = startSleeper()
    for (const name of ['instance', 'command'] as const)
      for (const asked of ASKED) expect(terminate(first.pid, { ...asked, [name]: 'x' })).toEqual({ code: `no ${name}` })
    expect(terminate(first.pid, { dryRun: true })).toEqual({ code: 'would send' })
    expect(first.isAlive()).toBe(true)
    expect(terminate(first.pid)).toEqual({ code: 'sent' })
    expect(await first.ended).toBe('SIGTERM')
    for (const asked of ASKED) expect(terminate(first.pid, asked)).toEqual({ code: 'ESRCH' })
    using second = startSleeper()
    expect(await terminate(second.pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
    using zombie = await startZombie()
    expect(await terminate(zombie.pid, { waitMs: 50 })).toEqual({ code: 'running' })
  }

  test.each([
    ['missing', { error: 'ENOENT' }],
    ['closed by the runtime', { error: 'NotCapable' }],
    ['of another PID namespace', { text: `${process.pid}1 (node) R 0` }],
    ['empty', { text: '' }],
  ])('of our own, as it is %s, kill(2) decides', async (_, self) => {
    using target = startSleeper()
    const disagreeing = { text: `${target.pid} (x) Z 0 0 0 0 -1 2129984` }
    using __ = await fakeFiles({ '/proc/self/stat': self, [`/proc/${target.pid}/stat`]: disagreeing })
    await expectNoProc()
    await expectRefused(target.pid, { code: 'EPERM', reason: 'hidden' }, nodeSignaller({ protect: [process.ppid] }))
  })

  test.each(['darwin', 'freebsd'] as const)(
    'on %s, kill(2) decides, and other PIDs can be protected',
    async (platform) => {
      using _ = pretendPlatform(platform)
      await expectNoProc()
      using target = startSleeper()
      const signaller = nodeSignaller({ protect: [process.ppid] })
      await expectRefused(process.ppid, { code: 'EPERM', reason: 'protected' }, signaller)
      expect(await signaller.terminate(target.pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
    },
  )
})

describe('on other systems', () => {
  test('android: as on Linux', (context) => {
    needsLinux(context)
    using _ = pretendPlatform('android')
    expect(nodeSignaller().supports).toEqual(CONDITIONS)
  })

  test("darwin: a process that becomes another user's during the wait runs", async () => {
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
    const seen = new Set<boolean>()
    while (seen.size < 2) {
      using target = startSleeper()
      const isExact = target.pid % 4 === 0
      seen.add(isExact)
      if (isExact) {
        expect(await nodeSignaller().terminate(target.pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
        expect(await target.ended).toBe('SIGTERM')
      } else {
        await expectRefused(target.pid, { code: 'ESRCH' })
        const signaller = nodeSignaller({ protect: [target.pid] })
        await expectRefused(target.pid, { code: 'EPERM', reason: 'protected' }, signaller)
        expect(target.isAlive()).toBe(true)
      }
    }
  })
})
