import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, expect, test, vi } from 'vitest'
import { CONDITIONS, type Delivery, MAX_PID } from '../../src/app/signaller.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { ASKED, expectNoSignal, fakeFiles, pretendPlatform } from '../support/fakes.ts'
import { hasProc, needsLinux, needsRoot } from '../support/needs.ts'
import { reapedPid, startSleeper, startZombie } from '../support/processes.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())

const nameOf = (pid: number) => (hasProc ? readFileSync(`/proc/${pid}/comm`, 'utf8').trim() : undefined)
const ownThread = () => Number(readdirSync('/proc/self/task').find((id) => Number(id) !== process.pid))

const systemError = (code: string) => Object.assign(new Error(`kill ${code}`), { code })

type Files = (pid: number) => Parameters<typeof fakeFiles>[0]
const hide: Files = (pid) => ({ [`/proc/${pid}/stat`]: { error: 'EACCES' } })
const none: Files = () => ({ '/proc/self/stat': { error: 'ENOENT' } })
const closed: Files = () => ({ '/proc/self/stat': { error: 'NotCapable' } })
const other: Files = () => ({ '/proc/self/stat': { text: `${process.pid}1 (node) R 0` } })

test.for(ASKED.slice(0, 2))(
  'a signal is reported right after the signal, before terminate returns: %j',
  async (asked) => {
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
    expect(await outcome).toMatchObject({ code: asked.waitMs === undefined ? 'sent' : 'exited' })
    expect(await target.ended).toBe('SIGTERM')
  },
)

test('a process gets no signal if its stat says so: a zombie, a thread, what is gone', async (context) => {
  needsLinux(context)
  using zombie = await startZombie()
  const thread = ownThread()
  expectNoSignal(zombie.pid, { code: 'ESRCH', reason: 'zombie', command: 'sleep' })
  expectNoSignal(thread, { code: 'ESRCH', reason: 'thread', command: nameOf(thread) })
  expectNoSignal(await reapedPid(), { code: 'ESRCH', reason: 'gone' })
  // Its own threads are protected if /proc may hide them.
  using _ = await fakeFiles(hide(thread))
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
  expect(outcomes()).toEqual(ASKED.map(() => ({ code: 'EPERM', command: nameOf(target.pid) })))
  using _ = await fakeFiles(hide(target.pid))
  for (const protect of [[], [process.ppid]]) expect(outcomes(protect)).toEqual(ASKED.map(() => ({ code: 'EPERM' })))
  expect(target.isAlive()).toBe(true)
})

const THROWN = [systemError('EINVAL'), 'no Error', undefined]
test.each(THROWN)('a signal that fails with %s is that exception', async (thrown) => {
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

test.for(['stat', 'status'])(
  'the kill call does not come if the %s cannot be read for the moment',
  async (name, context) => {
    needsLinux(context)
    using target = startSleeper()
    const { terminate } = nodeSignaller({ onlyUids: [0] })
    const kill = vi.spyOn(process, 'kill')
    using _ = await fakeFiles({ [`/proc/${target.pid}/${name}`]: { error: 'EMFILE' } })
    for (const asked of ASKED) expect(() => terminate(target.pid, asked)).toThrow('EMFILE')
    expect(kill).not.toHaveBeenCalled()
  },
)

test.for<[where: string, Files, NodeJS.Platform]>([
  ['if /proc may hide a process', hide, 'linux'],
  ['the same on Android', hide, 'android'],
  ['if /proc is missing', none, 'linux'],
  ['if the runtime closes /proc', closed, 'linux'],
  ['if /proc belongs to another PID namespace', other, 'linux'],
  ['on macOS', () => ({}), 'darwin'],
  ['on FreeBSD', () => ({}), 'freebsd'],
])('%s, kill(2) decides, and tells the exit; identity is a 501', async ([, files, platform], context) => {
  needsLinux(context)
  using target = startSleeper()
  using zombie = await startZombie()
  const { pid } = target
  using _ = pretendPlatform(platform)
  using __ = await fakeFiles(files(pid))
  const { supports, terminate } = nodeSignaller()
  expect(supports).toEqual(files === hide ? CONDITIONS : ['waitMs', 'dryRun'])
  for (const name of ['instance', 'command'] as const) expectNoSignal(pid, { code: `no ${name}` }, {}, { [name]: 'x' })
  expect(terminate(pid, { dryRun: true })).toEqual({ code: 'would send' })
  // It may be a thread of a protected process, except where kill(2) takes no threads.
  const protect = [process.ppid]
  if (files === hide || platform === 'linux') expectNoSignal(pid, { code: 'EPERM', reason: 'hidden' }, { protect })
  else expect(nodeSignaller({ protect }).terminate(pid, { dryRun: true })).toEqual({ code: 'would send' })
  for (const own of [1, process.pid, process.ppid])
    expectNoSignal(own, expect.objectContaining({ code: 'EPERM', reason: 'protected' }), { protect })
  expect(await terminate(pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
  expect(await target.ended).toBe('SIGTERM')
  for (const options of [{}, { protect }]) expectNoSignal(pid, { code: 'ESRCH' }, options, { instance: 'x' })
  if (files !== hide) expect(await terminate(zombie.pid, { waitMs: 50 })).toEqual({ code: 'running' })
})

test("on macOS, a process that becomes another user's during the wait runs", async () => {
  using target = startSleeper()
  using _ = pretendPlatform('darwin')
  vi.spyOn(process, 'kill').mockImplementation((_pid, signal) => {
    if (signal === 0) throw systemError('EPERM')
    return true
  })
  expect(await nodeSignaller().terminate(target.pid, { waitMs: 50 })).toEqual({ code: 'running' })
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
