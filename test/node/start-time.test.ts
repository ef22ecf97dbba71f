import { openSync, readSync } from 'node:fs'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { bootClock, latestStart, uptimeIsTheKernels } from '../../src/node/start-time.ts'
import { statReader } from '../../src/node/stat.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { needsLinux } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'

vi.mock('node:fs', { spy: true })
const { openSync: realOpen } = await vi.importActual<typeof import('node:fs')>('node:fs')

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
  vi.mocked(openSync).mockReset()
  vi.mocked(readSync).mockReset()
})

/** The next look at /proc/uptime reads this. */
const tellUptime = (text: () => string) => {
  vi.mocked(openSync).mockImplementationOnce(() => openSync('/dev/null', 'r'))
  vi.mocked(readSync).mockImplementationOnce((_file, buffer) =>
    Buffer.from(buffer.buffer).write(text(), buffer.byteOffset),
  )
}

describe('the latest start', () => {
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
      tellUptime(() => `${(Math.floor(uptime / 1e4) / 100).toFixed(2)} 0.00\n`)
      return latestStart(bootClock()(), { startTicks: Math.floor(start / 1e4) }) - (boot + start) / 1000
    })
    // A millisecond of the wall clock, as a double, is right to a quarter of a microsecond.
    expect(Math.min(...late)).toBeGreaterThan(-0.001)
    expect(Math.max(...late)).toBeLessThan(21.001)
  })

  test.each([
    [0, 0, 11],
    [500, 0, 11],
    [0, 500, 511],
  ])('is later, never earlier, where %i ms pass before uptime is read and %i after', (before, after, late) => {
    const start = 1_700_000_000_000
    vi.useFakeTimers({ toFake: ['Date'], now: start + 60_000 })
    tellUptime(() => {
      vi.setSystemTime(Date.now() + before + after)
      return `${(60_000 + before) / 1000} 0.00\n`
    })
    expect(latestStart(bootClock()(), { startTicks: 0 }) - start).toBe(late)
  })

  test('is not known without the ticks', () => {
    expect(latestStart(0, {})).toBeNaN()
  })

  test('of real processes is never before they were started and within 40 ms after', (context) => {
    needsLinux(context)
    const readStat = statReader()
    const latestBoot = bootClock()
    const started: Disposable[] = []
    try {
      const late = Array.from({ length: 60 }, () => {
        const before = Date.now()
        const target = startSleeper()
        const after = Date.now()
        started.push(target)
        const latest = latestStart(latestBoot(), readStat(target.pid) ?? {})
        return { least: latest - before, most: latest - after }
      })
      const most = late.map(({ most }) => most).sort((a, b) => a - b)
      expect(Math.min(...late.map(({ least }) => least))).toBeGreaterThanOrEqual(0)
      // Not the worst: a machine with other work to do may let time pass between the readings.
      expect(most[30]).toBeLessThanOrEqual(40)
    } finally {
      for (const target of started) target[Symbol.dispose]()
    }
  })
})

/** A machine with the three clocks, in milliseconds, and how long a look at each takes. */
const machine = ({ wall = 1.7e12, uptime = 1e8 } = {}) => {
  const at = { wall, monotonic: 5000, uptime, wallTakes: 0, monotonicTakes: 0, uptimeTakes: 0 }
  const pass = (ms: number) => {
    at.wall += ms
    at.monotonic += ms
    at.uptime += ms
  }
  let reads = 0
  vi.spyOn(Date, 'now').mockImplementation(() => {
    pass(at.wallTakes)
    return Math.floor(at.wall)
  })
  vi.spyOn(performance, 'now').mockImplementation(() => {
    pass(at.monotonicTakes)
    return at.monotonic
  })
  vi.mocked(openSync).mockImplementation(() => realOpen('/dev/null', 'r'))
  vi.mocked(readSync).mockImplementation((_file, buffer) => {
    reads++
    pass(at.uptimeTakes)
    const text = `${(Math.floor(at.uptime / 10) / 100).toFixed(2)} 0.00\n`
    return Buffer.from(buffer.buffer).write(text, buffer.byteOffset)
  })
  return { at, pass, reads: () => reads, trueBoot: () => at.wall - at.uptime }
}

describe('the boot', () => {
  test('is read once, as long as the clocks go on alike', () => {
    const { pass, reads, trueBoot } = machine()
    const latestBoot = bootClock()
    for (const ms of [0, 0.5, 10, 1000, 3_600_000, 86_400_000]) {
      pass(ms)
      const late = latestBoot() - trueBoot()
      expect(late).toBeGreaterThanOrEqual(1)
      expect(late).toBeLessThan(20)
    }
    expect(reads()).toBe(1)
  })

  test.each([
    ['the wall clock was set forward', 3.5, 0, 0],
    ['it was set back', -3.5, 0, 0],
    ['the system slept', 3.5, 0, 3.5],
    ['it slept for a day', 86_400_000, 0, 86_400_000],
  ])('is read again where %s', (_, wall, monotonic, uptime) => {
    const { at, reads, trueBoot } = machine()
    const latestBoot = bootClock()
    latestBoot()
    at.wall += wall
    at.monotonic += monotonic
    at.uptime += uptime
    const late = latestBoot() - trueBoot()
    expect(reads()).toBe(2)
    expect(late).toBeGreaterThan(0)
    expect(late).toBeLessThan(12)
  })

  test('is never early where nothing was cut off and the wall clock was set by as much as is let pass', () => {
    const { at, reads, trueBoot } = machine({ wall: 1.7e12 + 0.999, uptime: 1e8 })
    const latestBoot = bootClock()
    latestBoot()
    at.wall += 1.99
    const late = latestBoot() - trueBoot()
    expect(reads()).toBe(1)
    expect(late).toBeGreaterThan(0)
    expect(late).toBeLessThan(4)
  })

  test('is not kept where time passed while it was read', () => {
    const { at, reads, trueBoot } = machine()
    const latestBoot = bootClock()
    at.wallTakes = 1.1
    at.uptimeTakes = 1.1
    expect(latestBoot()).toBeGreaterThan(trueBoot())
    at.wallTakes = 0
    at.uptimeTakes = 0
    expect(latestBoot() - trueBoot()).toBeLessThan(12)
    expect(reads()).toBe(2)
  })

  test('is never before the true one, and not much after, whatever happens', () => {
    const takes = fc.constantFrom(0, 0, 0.4, 0.99, 1.9, 3)
    const step = fc.record({
      pass: fc.constantFrom(0, 0.5, 7, 5000),
      sleep: fc.constantFrom(0, 0, 0.99, 1.99, 5000),
      set: fc.constantFrom(0, 0, 0.99, 1.99, 2.99, 3.89, 4.89, -0.99, -1.99, -3, 9000),
      takes: fc.record({ wallTakes: takes, monotonicTakes: takes, uptimeTakes: takes }),
    })
    const began = fc.record({
      wall: fc.constantFrom(0, 0.001, 0.5, 0.999).map((ms) => 1.7e12 + ms),
      uptime: fc.constantFrom(0, 0.001, 5, 9.999).map((ms) => 1e8 + ms),
    })
    const property = fc.property(began, fc.array(step, { maxLength: 6 }), (clocks, steps) => {
      const { at, pass, trueBoot } = machine(clocks)
      const latestBoot = bootClock()
      let slept = 0
      for (const { pass: ms, sleep, set, takes } of steps) {
        pass(ms)
        slept += sleep
        at.wall += sleep + set
        at.uptime += sleep
        Object.assign(at, takes)
        const late = latestBoot() - trueBoot()
        // Less than a microsecond is what such a double cannot tell.
        expect(late).toBeGreaterThan(-0.001)
        // Cut off 12, kept 3 later, read within 2, and set back by 2. Sleep hides that the clock was set back by as much.
        expect(late).toBeLessThan(19.001 + takes.wallTakes + slept)
      }
    })
    fc.assert(property, { numRuns: 3000 })
  })
})

describe("uptime is the kernel's", () => {
  beforeEach(() => {
    vi.spyOn(process, 'uptime').mockReturnValue(10)
  })

  // This process started with the system, and its runtime is 10 s old.
  test.each([
    ['shows that very age', true, { text: '10.00 0.00\n' }],
    ['shows a tenth of a second less', true, { text: '9.90 0.00\n' }],
    ['shows less than that', false, { text: '9.89 0.00\n' }],
    ['shows much more', true, { text: '90000.00 0.00\n' }],
    ['is missing', false, { error: 'ENOENT' }],
    ['is closed', false, { error: 'EACCES' }],
    ['is empty', false, { text: '' }],
  ])('where the file %s: %s', async (_, expected, file) => {
    using __ = await fakeFiles({ '/proc/uptime': file })
    expect(uptimeIsTheKernels({ startTicks: 0 })).toBe(expected)
  })

  test('by its distance from the own start, which must be known', async () => {
    using _ = await fakeFiles({ '/proc/uptime': { text: '100.00 0.00\n' } })
    expect(uptimeIsTheKernels({ startTicks: 9000 })).toBe(true)
    expect(uptimeIsTheKernels({ startTicks: 9011 })).toBe(false)
    expect(uptimeIsTheKernels({})).toBe(false)
  })
})
