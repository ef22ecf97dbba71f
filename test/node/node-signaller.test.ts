import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CONDITIONS, type Delivery, MAX_PID, type ProcessSeen, type SignallerReason } from '../../src/app/signaller.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { ASKED, expectNoSignal, fakeFiles, pretendPlatform, startedLater } from '../support/fakes.ts'
import { hasProc, needsLinux, needsRoot } from '../support/needs.ts'
import { reapedPid, startCommand, startNamed, startSleeper, startZombie, statField } from '../support/processes.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

test.for(ASKED.slice(0, 2))('a signal is reported before terminate returns: %j', async (asked) => {
  using target = startSleeper()
  const kill = vi.spyOn(process, 'kill')
  const onSignal = vi.fn()
  const outcome = nodeSignaller().terminate(target.pid, { ...asked, onSignal })
  expect(kill.mock.calls).toEqual([[target.pid, 'SIGTERM']])
  expect(onSignal.mock.calls).toEqual([[{ code: 'sent', command: hasProc ? 'sleep' : undefined }]])
  expect(onSignal).toHaveBeenCalledAfter(kill)
  expect(await outcome).toMatchObject({ code: asked.waitMs === undefined ? 'sent' : 'exited' })
  expect(await target.ended).toBe('SIGTERM')
})

test('a process gets no signal if its stat says so: a zombie, a thread, what is gone', async (context) => {
  needsLinux(context)
  using zombie = await startZombie()
  const thread = Number(readdirSync('/proc/self/task').find((id) => Number(id) !== process.pid))
  expectNoSignal(zombie.pid, { code: 'ESRCH', reason: 'zombie', command: 'sleep' })
  expectNoSignal(thread, { code: 'ESRCH', reason: 'thread', command: expect.any(String) })
  expectNoSignal(reapedPid(), { code: 'ESRCH', reason: 'gone' })
  // Its own threads are protected if /proc may hide them.
  using _ = await fakeFiles({ [`/proc/${thread}/stat`]: { error: 'EACCES' } })
  expectNoSignal(thread, { code: 'EPERM', reason: 'protected' })
})

test("another user's process is EPERM, hidden or not", async (context) => {
  needsRoot(context)
  using target = startSleeper({ uid: 65_533, gid: 65_533 })
  const outcomes = (protect: number[] = []) => {
    const { terminate } = nodeSignaller({ protect })
    process.seteuid?.(65_534)
    try {
      return ASKED.map((asked) => terminate(target.pid, asked))
    } finally {
      process.seteuid?.(0)
    }
  }
  expect(outcomes()).toEqual(ASKED.map(() => ({ code: 'EPERM', command: 'sleep' })))
  using _ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { error: 'EACCES' } })
  for (const protect of [[], [process.ppid]]) expect(outcomes(protect)).toEqual(ASKED.map(() => ({ code: 'EPERM' })))
  expect(target.isAlive()).toBe(true)
})

test.for([new Error('EINVAL'), 'no Error', undefined])('a signal that fails with %s throws that', async (thrown) => {
  using target = startSleeper()
  const onSignal = vi.fn()
  const { terminate } = nodeSignaller()
  vi.spyOn(process, 'kill').mockImplementation(() => {
    throw thrown
  })
  for (const asked of ASKED)
    await expect((async () => terminate(target.pid, { ...asked, onSignal }))()).rejects.toBe(thrown)
  expect(onSignal).not.toHaveBeenCalled()
})

test('the kill call gets nothing but an integer from 1 to 2147483647; all else is a RangeError', async () => {
  using _ = await fakeFiles({ '/proc/self/stat': { error: 'ENOENT' } })
  const kill = vi.spyOn(process, 'kill').mockReturnValue(true)
  const { terminate } = nodeSignaller()
  const numbers = [0, -0, -1, 1.5, MAX_PID, MAX_PID + 1, 2 ** 32, 2 ** 32 + 1, -(2 ** 31), Number.NaN]
  const pids = fc.oneof(fc.constantFrom<unknown[]>(...numbers, '5', '', [5], true, null), fc.integer(), fc.anything())
  const property = fc.property(pids, fc.boolean(), (pid, dryRun) => {
    fc.pre(pid !== 1 && pid !== process.pid)
    kill.mockClear()
    const call = () => terminate(pid as never, { dryRun: dryRun || undefined })
    if (typeof pid === 'number' && Number.isInteger(pid) && pid > 0 && pid <= MAX_PID) {
      expect(call()).toEqual({ code: dryRun ? 'would send' : 'sent' })
      expect(kill.mock.calls).toEqual([[pid, dryRun ? 0 : 'SIGTERM']])
    } else {
      expect(call).toThrow(RangeError)
      expect(kill).not.toHaveBeenCalled()
    }
  })
  fc.assert(property, { numRuns: 1000 })
})

test('the kill call comes right after the stat, which is read once', (context) => {
  needsLinux(context)
  using target = startSleeper()
  const { terminate } = nodeSignaller()
  const kill = vi.spyOn(process, 'kill').mockReturnValue(true)
  const mocks = [readFileSync, openSync, readSync, closeSync, statSync].map((file) => vi.mocked(file).mockClear())
  expect(terminate(target.pid, { command: 'sleep' })).toMatchObject({ code: 'sent' })
  const calls = mocks.flatMap(({ mock }) => mock.invocationCallOrder).sort((a, b) => a - b)
  expect(calls).toHaveLength(3)
  expect(vi.mocked(openSync).mock.calls).toEqual([[`/proc/${target.pid}/stat`, 'r']])
  expect(kill.mock.invocationCallOrder).toEqual([(calls[2] ?? 0) + 1])
})

test.for(['stat', 'status'])('the kill call does not come if the %s cannot be read now', async (name, context) => {
  needsLinux(context)
  using target = startSleeper()
  const { terminate } = nodeSignaller({ onlyUids: [0] })
  const kill = vi.spyOn(process, 'kill')
  using _ = await fakeFiles({ [`/proc/${target.pid}/${name}`]: { error: 'EMFILE' } })
  for (const asked of ASKED) expect(() => terminate(target.pid, asked)).toThrow('EMFILE')
  expect(kill).not.toHaveBeenCalled()
})

test.for<[where: string, unreadable: string, NodeJS.Platform]>([
  ['if /proc may hide a process', '/proc/PID/stat', 'linux'],
  ['the same on Android', '/proc/PID/stat', 'android'],
  ['if /proc cannot be read', '/proc/self/stat', 'linux'],
  ['on macOS', 'nothing', 'darwin'],
  ['on FreeBSD', 'nothing', 'freebsd'],
])('%s, kill(2) decides, and tells the exit; identity is a 501', async ([, unreadable, platform], context) => {
  needsLinux(context)
  using target = startSleeper()
  using zombie = await startZombie()
  const { pid } = target
  using _ = pretendPlatform(platform)
  using __ = await fakeFiles({ [unreadable.replace('PID', `${pid}`)]: { error: 'EACCES' } })
  const hides = unreadable.includes('PID')
  const { supports, terminate } = nodeSignaller()
  expect(supports).toEqual(hides ? CONDITIONS : ['waitMs', 'dryRun'])
  for (const name of ['instance', 'command'] as const) expectNoSignal(pid, { code: `no ${name}` }, {}, { [name]: 'x' })
  expect(terminate(pid, { dryRun: true })).toEqual({ code: 'would send' })
  // It may be a thread of a protected process, except where kill(2) takes no threads.
  const protect = [process.ppid]
  if (hides) expectNoSignal(pid, { code: 'EPERM', reason: 'hidden' }, { onlyUids: [0] })
  if (hides || platform === 'linux') expectNoSignal(pid, { code: 'EPERM', reason: 'hidden' }, { protect })
  else expect(nodeSignaller({ protect }).terminate(pid, { dryRun: true })).toEqual({ code: 'would send' })
  for (const own of [1, process.pid, process.ppid])
    expectNoSignal(own, expect.objectContaining({ code: 'EPERM', reason: 'protected' }), { protect })
  expect(await terminate(pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
  expect(await target.ended).toBe('SIGTERM')
  for (const options of [{}, { protect }]) expectNoSignal(pid, { code: 'ESRCH' }, options, { instance: 'x' })
  if (!hides) expect(await terminate(zombie.pid, { waitMs: 50 })).toEqual({ code: 'running' })
})

test('on Windows, what is not a multiple of four is ESRCH, as the kill call would round it', async () => {
  using _ = pretendPlatform('win32')
  const seen = new Set<boolean>()
  while (seen.size < 2) {
    using target = startSleeper()
    const isExact = target.pid % 4 === 0
    seen.add(isExact)
    if (!isExact) {
      expectNoSignal(target.pid, { code: 'ESRCH' })
      expectNoSignal(target.pid, { code: 'EPERM', reason: 'protected' }, { protect: [target.pid] })
    } else expect(await nodeSignaller().terminate(target.pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
  }
})

describe('on Linux', () => {
  beforeEach(needsLinux)

  /** What a dry run tells of a process that it would signal. */
  const look = (pid: number, { terminate } = nodeSignaller()): ProcessSeen => {
    const outcome = terminate(pid, { dryRun: true })
    if ('then' in outcome || !outcome.process) throw new Error(`It told ${JSON.stringify(outcome)}`)
    return outcome.process
  }

  const expectOther = (pid: number, conditions: Partial<Delivery>, reason: SignallerReason) =>
    expectNoSignal(pid, { code: 'ESRCH', reason, command: expect.any(String) }, {}, conditions)

  test('a dry run calls kill(2) with signal 0 alone, at once, and describes the process', () => {
    // As after exec: the runtime is younger than its process.
    vi.spyOn(process, 'uptime').mockReturnValue(0)
    const before = Date.now()
    using target = startSleeper()
    const after = Date.now()
    const kill = vi.spyOn(process, 'kill')
    const { startedAt = '', ...seen } = look(target.pid)
    const boot = readFileSync(BOOT_ID, 'utf8').replaceAll('-', '').slice(0, 16)
    const instance = `${boot}-${target.pid}-${statField(target.pid, 22)}`
    expect(seen).toEqual({ command: 'sleep', uid: process.getuid?.(), instance })
    expect(startedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect(Date.parse(startedAt)).toBeGreaterThan(before - 1000)
    expect(Date.parse(startedAt)).toBeLessThan(after + 10_000)
    const onSignal = vi.fn()
    const asked = {
      waitMs: 60_000,
      command: 'sleep',
      instance,
      comment: 'just looking',
      dryRun: true,
      onSignal,
    } as const
    const again = expect.objectContaining(seen)
    // A promise would not be equal.
    expect(nodeSignaller().terminate(target.pid, asked)).toEqual({
      code: 'would send',
      command: 'sleep',
      process: again,
    })
    expect(kill.mock.calls).toEqual(Array(2).fill([target.pid, 0]))
    expect(onSignal).not.toHaveBeenCalled()
  })

  /** As in a container with lxcfs: less than the age of this process. */
  const containerUptime = () => `${Number(statField(process.pid, 22)) / 100 + process.uptime() - 2} 0`

  test.each<['startedAt' | 'instance', why: string, files: () => Parameters<typeof fakeFiles>[0]]>([
    ['startedAt', "uptime is a container's", () => ({ '/proc/uptime': { text: containerUptime() } })],
    ['startedAt', 'there is no uptime', () => ({ '/proc/uptime': { error: 'ENOENT' } })],
    ['instance', 'there is no boot id', () => ({ [BOOT_ID]: { error: 'ENOENT' } })],
    ['instance', 'the boot id is empty', () => ({ [BOOT_ID]: { text: '' } })],
  ])('a dry run leaves out %s if %s; what is left out is not supported', async (lost, _, files) => {
    using target = startSleeper()
    using __ = await fakeFiles(files())
    const { supports, terminate } = nodeSignaller()
    const { [lost]: left, ...rest } = look(target.pid)
    expect([left, Object.values(rest).includes(undefined)]).toEqual([undefined, false])
    expect(supports).toEqual(CONDITIONS.filter((name) => name !== lost))
    if (lost === 'startedAt') return
    expectNoSignal(target.pid, { code: 'no instance', command: 'sleep' }, {}, { instance: 'x' })
    expect(terminate(target.pid, { command: 'sleep' })).toMatchObject({ code: 'sent' })
  })

  test('an instance is compared for equality: no other text, no other PID, no other start, no other boot', async () => {
    using target = startSleeper()
    using other = startSleeper()
    const { instance = '' } = look(target.pid)
    for (const wrong of ['', `${instance}0`, instance.slice(0, -1), instance.slice(1), look(other.pid).instance])
      expectOther(target.pid, { instance: wrong }, 'other instance')
    expectOther(other.pid, { instance }, 'other instance')
    const path = `/proc/${target.pid}/stat`
    const stat = readFileSync(path, 'utf8')
    const starts = [-1, 1].map((ticks) => ({ [path]: { text: startedLater(stat, ticks) } }))
    for (const files of [...starts, { [BOOT_ID]: { text: '11111111-2222-3333-4444-555555555555\n' } }]) {
      using _ = await fakeFiles(files)
      expectOther(target.pid, { instance }, 'other instance')
    }
    expect(nodeSignaller().terminate(target.pid, { instance })).toMatchObject({ code: 'sent' })
  })

  test.each(["$0 = 'renamed'", "exec 'sleep', '600'"])('after %s the instance is the same', async (change) => {
    const script = `$SIG{USR1} = sub { ${change} }; $| = 1; print 1; sleep 600 while 1`
    using changing = await startCommand(['perl', '-e', script])
    const { pid, child } = changing
    const { command, instance } = look(pid)
    child.kill('SIGUSR1')
    await expect.poll(() => look(pid).command).not.toBe(command)
    expect(look(pid).instance).toBe(instance)
    expectOther(pid, { command, instance }, 'other command')
    expectOther(pid, { command, instance: `${instance}0` }, 'other instance')
    expect(nodeSignaller().terminate(pid, { instance })).toMatchObject({ code: 'sent' })
    expect(await changing.ended).toBe('SIGTERM')
  })

  test('a command is met by a process of exactly that name, of which the kernel keeps 15 bytes', async () => {
    using target = startSleeper()
    for (const command of ['', 'slee', 'sleep ', 'Sleep', '/bin/sleep', 'sleep\0', 'sleep 600', 'sleepsleepsleepsleep'])
      expectOther(target.pid, { command }, 'other command')
    expect(nodeSignaller().terminate(target.pid, { command: 'sleep' })).toEqual({ code: 'sent', command: 'sleep' })
    const name = 'éééééééé and more'
    using long = await startNamed(name)
    for (const command of [name, look(long.pid).command])
      expect(nodeSignaller().terminate(long.pid, { command, dryRun: true })).toMatchObject({ code: 'would send' })
  })
})
