import { openSync, readSync } from 'node:fs'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { latestBoot, latestStart, uptimeIsTheKernels } from '../../src/node/start-time.ts'
import { statReader } from '../../src/node/stat.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { needsLinux } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
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
      return latestStart(latestBoot(), { startTicks: Math.floor(start / 1e4) }) - (boot + start) / 1000
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
    expect(latestStart(latestBoot(), { startTicks: 0 }) - start).toBe(late)
  })

  test('is not known without the ticks', () => {
    expect(latestStart(0, {})).toBeNaN()
  })

  test('of real processes is never before they were started and within 40 ms after', (context) => {
    needsLinux(context)
    const readStat = statReader()
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
