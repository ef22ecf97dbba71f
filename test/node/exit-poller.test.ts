import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { exitPoller } from '../../src/node/exit-poller.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { type Stat, statReader } from '../../src/node/stat.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { needsLinux } from '../support/needs.ts'
import { startSleeper, startUnreaped, startWithoutLeader, startZombie } from '../support/processes.ts'
import { startTarget } from '../support/target.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const readStat = statReader()

const identify = (pid: number) => {
  const { startTicks } = readStat(pid) ?? {}
  if (startTicks === undefined) throw new Error(`No process ${pid} to wait for`)
  return { pid, startTicks }
}

/** Sends SIGTERM and waits, and tells how long the answer took. */
const terminate = async (pid: number, waitMs: number, stopWaiting: readonly AbortSignal[] = []) => {
  const start = performance.now()
  const outcome = await nodeSignaller().terminate(pid, { waitMs, stopWaiting })
  return { code: outcome.code, ms: performance.now() - start }
}

const IGNORES = "process.on('SIGTERM', () => {})"

describe('waiting for the exit', () => {
  beforeEach(needsLinux)

  test('of a process that dies at once', async () => {
    using target = startSleeper()
    expect(await nodeSignaller().terminate(target.pid, { waitMs: 5000 })).toEqual({
      code: 'exited',
      command: 'sleep',
    })
    expect(await target.ended).toBe('SIGTERM')
  })

  test('of one that ignores SIGTERM ends when the time is up', async () => {
    using target = await startTarget(IGNORES)
    const { command } = readStat(target.pid) ?? {}
    const start = performance.now()
    const outcome = await nodeSignaller().terminate(target.pid, { waitMs: 300 })
    expect(outcome).toEqual({ code: 'running', command })
    const ms = performance.now() - start
    expect(ms).toBeGreaterThanOrEqual(300)
    expect(ms).toBeLessThan(10_000)
    expect(target.isAlive()).toBe(true)
  })

  test('of one that takes 200 ms to clean up', async () => {
    using target = await startTarget("process.on('SIGTERM', () => setTimeout(() => process.exit(0), 200))")
    const { code, ms } = await terminate(target.pid, 10_000)
    expect(code).toBe('exited')
    expect(ms).toBeGreaterThanOrEqual(195)
    expect(ms).toBeLessThan(10_000)
  })

  test('of one whose parent never reaps it: terminated is enough', async () => {
    using unreaped = await startUnreaped()
    const { pid } = unreaped
    expect(await terminate(pid, 5000)).toMatchObject({ code: 'exited' })
    expect(readStat(pid)).toMatchObject({ noSignal: { code: 'ESRCH', reason: 'zombie' } })
  })

  test('of one whose first thread alone has exited goes on', async ({ skip }) => {
    using target = await startWithoutLeader()
    if (!target) return skip('needs a perl with threads or a python3')
    expect(await exitPoller(readStat, () => false).wait(identify(target.pid), 100, [])).toBe(false)
  })

  test('reads the stat once more when the time is up, after 0 ms at the soonest', async () => {
    using zombie = await startZombie()
    using target = await startTarget(IGNORES)
    expect(await exitPoller(readStat, () => false).wait(identify(zombie.pid), 0, [])).toBe(true)
    const { code, ms } = await terminate(target.pid, 0)
    expect(code).toBe('running')
    expect(ms).toBeLessThan(10_000)
  })

  test('of a process that /proc never showed is told by the function for that, and by a stat that says it is gone', async () => {
    let gone = false
    const stats: (Stat | undefined)[] = [
      undefined,
      undefined,
      undefined,
      { startTicks: 1 },
      { noSignal: { code: 'ESRCH' } },
    ]
    const poller = exitPoller(
      () => stats.shift(),
      () => gone,
    )
    expect(await poller.wait({ pid: process.pid }, 0, [])).toBe(false)
    gone = true
    expect(await poller.wait({ pid: process.pid }, 0, [])).toBe(true)
    gone = false
    expect(await poller.wait({ pid: process.pid }, 5000, [])).toBe(true)
    expect(stats).toEqual([])
  })

  test('takes a successor with the same PID for what it is: the one that was meant has exited', async () => {
    using successor = startSleeper()
    const { startTicks } = identify(successor.pid)
    const wait = (startTicks: number) =>
      exitPoller(readStat, () => false).wait({ pid: successor.pid, startTicks }, 100, [])
    expect(await Promise.all([wait(startTicks - 1), wait(startTicks), wait(startTicks + 1)])).toEqual([
      true,
      false,
      true,
    ])
  })

  test('of a process that becomes hidden meanwhile is told by signal 0', async () => {
    using target = await startTarget(IGNORES)
    const { terminate } = nodeSignaller()
    const briefly = terminate(target.pid, { waitMs: 100 })
    const longer = terminate(target.pid, { waitMs: 20_000 })
    using _ = await fakeFiles({ [`/proc/${target.pid}/stat`]: { error: 'EACCES' } })
    expect(await briefly).toMatchObject({ code: 'running' })
    target.child.kill('SIGKILL')
    expect(await longer).toMatchObject({ code: 'exited' })
  })

  test('goes on where the stat read fails for another reason: not known to have exited', async () => {
    using target = startSleeper()
    const identity = identify(target.pid)
    const failing = await fakeFiles({ [`/proc/${target.pid}/stat`]: { error: 'EMFILE' } })
    const poller = exitPoller(readStat, () => false)
    const whole = poller.wait(identity, 5000, [])
    expect(await poller.wait(identity, 100, [])).toBe(false)
    failing[Symbol.dispose]()
    target.child.kill('SIGKILL')
    expect(await whole).toBe(true)
  })

  test.each([
    ['the only one', 0, 1],
    ['the first', 0, 2],
    ['the second', 1, 2],
  ])('stops, as not known to have exited, when a signal aborts: %s', async (_, index, count) => {
    using target = await startTarget(IGNORES)
    const controllers = Array.from({ length: count }, () => new AbortController())
    const waiting = terminate(
      target.pid,
      60_000,
      controllers.map(({ signal }) => signal),
    )
    await sleep(100)
    const aborted = performance.now()
    controllers[index]?.abort()
    expect((await waiting).code).toBe('running')
    expect(performance.now() - aborted).toBeLessThan(30_000)
  })

  test('stops at once where the signal had aborted before; the process is signalled all the same', async () => {
    using target = startSleeper()
    const { code, ms } = await terminate(target.pid, 60_000, [AbortSignal.abort()])
    expect(code).toBe('running')
    expect(ms).toBeLessThan(30_000)
    expect(await target.ended).toBe('SIGTERM')
  })

  test('leaves nothing behind, though the signal lives on', async () => {
    setFlagsFromString('--expose-gc')
    const collectGarbage: () => void = runInNewContext('gc')
    using zombie = await startZombie()
    const { signal } = new AbortController()
    const poller = exitPoller(readStat, () => false)
    const wait = async () => {
      const stopWaiting = [signal]
      expect(await poller.wait(identify(zombie.pid), 5000, stopWaiting)).toBe(true)
      return new WeakRef(stopWaiting)
    }
    const left = await wait()
    await sleep(50)
    collectGarbage()
    expect(left.deref()).toBeUndefined()
    expect(signal.aborted).toBe(false)
  })

  test('of one does not wait for the others', async () => {
    using stays = startSleeper()
    using goes = startSleeper()
    const poller = exitPoller(readStat, () => false)
    const stop = new AbortController()
    const stopped = poller.wait(identify(stays.pid), 60_000, [stop.signal])
    const gone = poller.wait(identify(goes.pid), 60_000, [])
    goes.child.kill('SIGKILL')
    expect(await gone).toBe(true)
    expect(await poller.wait(identify(stays.pid), 50, [])).toBe(false)
    stop.abort()
    expect(await stopped).toBe(false)
  })

  test('of a hundred, each for a process of its own, is answered soon after each exit', async () => {
    const targets = Array.from({ length: 100 }, () => startSleeper())
    try {
      const poller = exitPoller(readStat, () => false)
      const latencies: number[] = []
      const ended = targets.map(async ({ pid, child }, i) => {
        const waiting = poller.wait(identify(pid), 30_000, [])
        await sleep(7 * i)
        const killed = performance.now()
        child.kill('SIGKILL')
        expect(await waiting).toBe(true)
        latencies.push(performance.now() - killed)
      })
      await Promise.all(ended)
      latencies.sort((a, b) => a - b)
      // The target is 50, which the tests of the timer below hold it to; what a busy machine adds is not the poller's.
      expect(latencies[50]).toBeLessThan(5000)
    } finally {
      for (const target of targets) target[Symbol.dispose]()
    }
  })
})

describe('the timer', () => {
  // Time stands still but for the timer and for stat reads, of which each takes `readMs`.
  let readMs = 0
  let readingMs = 0
  const read: number[] = []
  const exited = new Set<number>()

  const readStat = (pid: number): Stat => {
    read.push(pid)
    readingMs += readMs
    return exited.has(pid) ? { noSignal: { code: 'ESRCH' } } : { startTicks: 1 }
  }

  beforeEach(() => {
    readMs = 0
    readingMs = 0
    read.length = 0
    exited.clear()
    vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] })
    const now = performance.now.bind(performance)
    vi.spyOn(performance, 'now').mockImplementation(() => now() + readingMs)
  })

  /** Begins `count` waits, for PIDs from 1 on; answers come in as they are given. */
  const begin = (count: number, waitMs = 60_000, stopWaiting: readonly AbortSignal[] = []) => {
    const poller = exitPoller(readStat, () => false)
    const answers = new Map<number, boolean>()
    const wait = (pid: number, waitMs: number) =>
      poller.wait({ pid, startTicks: 1 }, waitMs, stopWaiting).then((exited) => answers.set(pid, exited))
    for (let pid = 1; pid <= count; pid++) wait(pid, waitMs)
    return { wait, answers }
  }

  /** Lets the timer fire, which must be the only one, and tells how long it was set to. */
  const fire = async () => {
    expect(vi.getTimerCount()).toBe(1)
    const start = performance.now() - readingMs
    await vi.advanceTimersToNextTimerAsync()
    return performance.now() - readingMs - start
  }

  test('is one, however many wait, and none when nobody does', async () => {
    const { wait, answers } = begin(1000)
    await fire()
    wait(1001, 60_000)
    for (let pid = 1; pid <= 1000; pid++) exited.add(pid)
    await fire()
    expect(answers.size).toBe(1000)
    await fire()
    exited.add(1001)
    await fire()
    expect(answers.size).toBe(1001)
    expect(vi.getTimerCount()).toBe(0)
    wait(1, 60_000)
    expect(await fire()).toBe(20)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('fires every 20 ms while few wait and reads each stat once', async () => {
    begin(3)
    for (let i = 1; i <= 5; i++) {
      expect(await fire()).toBe(20)
      expect(read).toHaveLength(3 * i)
    }
    expect(read.slice(3, 6).sort()).toEqual([1, 2, 3])
  })

  test('fires as soon as the first wait is over', async () => {
    const { answers } = begin(1, 5)
    expect(await fire()).toBe(5)
    expect(answers).toEqual(new Map([[1, false]]))
    expect(vi.getTimerCount()).toBe(0)
  })

  test.each([
    [0.25, 8, 24],
    [0.5, 4, 24],
    [5, 1, 60],
    // That long only where other programs have the core in between.
    [50, 1, 100],
  ])(
    'with stat reads of %f ms does %i and then pauses for %i ms: twelve times as long, at most 100',
    async (ms, reads, pause) => {
      readMs = ms
      begin(100)
      await fire()
      expect(read).toHaveLength(reads)
      for (let i = 2; i <= 5; i++) {
        expect(await fire()).toBeCloseTo(pause)
        expect(read).toHaveLength(reads * i)
      }
    },
  )

  test('gets round to each process in turn, while others come and go', async () => {
    readMs = 1
    const { wait, answers } = begin(100)
    const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i)
    for (let i = 0; i < 25; i++) await fire()
    expect(read).toEqual(range(1, 50))
    for (const pid of [10, 50, 51, 52, 99, 100]) exited.add(pid)
    wait(101, 60_000)
    for (let i = 0; i < 25; i++) await fire()
    expect([...answers.keys()]).toEqual([51, 52, 99, 100])
    expect(read.slice(50)).toEqual(range(51, 100))
    for (let i = 0; i < 26; i++) await fire()
    expect([...answers.keys()].slice(4)).toEqual([10, 50])
    expect(read.slice(100)).toEqual([...range(1, 50), 101, 53])
  })

  test('does not let those that are due wait for their turn', async () => {
    readMs = 1
    const { wait, answers } = begin(100)
    wait(101, 10)
    wait(102, 30)
    exited.add(102)
    await fire()
    expect(answers).toEqual(new Map([[101, false]]))
    await fire()
    expect(answers.get(102)).toBe(true)
  })

  test('is not what a signal that aborts waits for; it has one listener, however many it stops', async () => {
    const stopping = new AbortController()
    const listen = vi.spyOn(stopping.signal, 'addEventListener')
    const other = new AbortController()
    const { wait, answers } = begin(100, 60_000, [stopping.signal, other.signal])
    exited.add(1)
    await fire()
    expect(answers).toEqual(new Map([[1, true]]))
    stopping.abort()
    other.abort()
    await Promise.resolve()
    expect([...answers.values()].filter((exited) => !exited)).toHaveLength(99)
    expect(answers.size).toBe(100)
    wait(101, 60_000)
    await Promise.resolve()
    expect(answers.get(101)).toBe(false)
    expect(listen).toHaveBeenCalledOnce()
    await fire()
    expect(vi.getTimerCount()).toBe(0)
  })
})
