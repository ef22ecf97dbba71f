import process from 'node:process'
import { orUndefined, readShort } from './proc.ts'
import type { Stat } from './stat.ts'

/** A clock tick in milliseconds: USER_HZ is 100 on every architecture that Node runs on. */
const CLOCK_TICK_MS = 10

const uptimeMs = () => Number.parseFloat(readShort('/proc/uptime')) * 1000

/**
 * Whether /proc/uptime is the kernel's. A container's own (lxcfs) starts later than the ticks of the stat: by it this
 * process would be younger than its runtime says. It may be older: a shell that runs `exec node` keeps its start.
 *
 * @param own - the stat of this process.
 */
export const uptimeIsTheKernels = ({ startTicks = Number.NaN }: Stat) => {
  const ageMs = process.uptime() * 1000
  const uptime = orUndefined(uptimeMs) ?? Number.NaN
  return uptime - startTicks * CLOCK_TICK_MS >= ageMs - 100
}

/** By how much the two clocks may differ, in milliseconds, before uptime is read again. */
const DRIFT_MS = 2

/**
 * Makes the function that tells the latest moment at which the system can have booted, in milliseconds of the wall clock
 * as it is now. (`btime` of /proc/stat would be off by up to a second.)
 *
 * It reads uptime again only where the wall clock has gone on otherwise than the monotonic one: it was set, or the system
 * slept, which the monotonic one does not count. That saves a third of a request. Time that passes between the readings,
 * in this order, makes the result later.
 */
export const bootClock = () => {
  let kept = { boot: 0, wall: Number.NaN, monotonic: 0 }
  return () => {
    const monotonic = performance.now()
    const drift = Date.now() - kept.wall - (monotonic - kept.monotonic)
    // What has drifted, and a millisecond that some runtimes cut off of the monotonic clock.
    if (Math.abs(drift) <= DRIFT_MS) return kept.boot + DRIFT_MS + 1
    const uptime = uptimeMs()
    const wall = Date.now()
    const boot = wall + 1 - uptime
    const after = performance.now()
    // Not what was late itself: all that follow would be.
    if (after - monotonic <= DRIFT_MS) kept = { boot, wall, monotonic: after }
    return boot
  }
}

/**
 * The latest moment at which a process can have started.
 *
 * Each reading is cut off, ticks and uptime to 10 ms, the clocks to 1 ms, and the clocks drift. All of it is added, so
 * the result is up to 30 ms late and never early.
 */
export const latestStart = (boot: number, { startTicks = Number.NaN }: Stat) => boot + (startTicks + 1) * CLOCK_TICK_MS

/** More than the boot differs from call to call, also where a busy machine lets time pass between the readings. */
const SLACK_MS = 70

/**
 * The start of a process for a client to send back as `startedBefore`: up to a tenth of a second late, so that the
 * process itself passes, and never after `now`, so that no later one does.
 *
 * @param now - the wall clock before the stat was read, in milliseconds.
 */
export const startToSendBack = (boot: number, stat: Stat, now: number) =>
  new Date(Math.min(latestStart(boot, stat) + SLACK_MS, now)).toISOString()
