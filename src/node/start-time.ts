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

/**
 * The latest moment at which the system can have booted, in milliseconds of the wall clock as it is now. Time that
 * passes between the two readings makes it later. (`btime` of /proc/stat would be off by up to a second.)
 */
export const latestBoot = () => {
  const uptime = uptimeMs()
  return Date.now() + 1 - uptime
}

/**
 * The latest moment at which a process can have started.
 *
 * Each of the three readings is cut off: ticks and uptime to 10 ms, the clock to 1 ms. All of it is added, so the
 * result is up to 21 ms late and never early.
 */
export const latestStart = (boot: number, { startTicks = Number.NaN }: Stat) => boot + (startTicks + 1) * CLOCK_TICK_MS

/** More than `latestBoot` differs from call to call, also where a busy machine lets time pass between its readings. */
const SLACK_MS = 79

/**
 * The start of a process for a client to send back as `startedBefore`: up to a tenth of a second late, so that the
 * process itself passes, and never after `now`, so that no later one does.
 *
 * @param now - the wall clock before the stat was read, in milliseconds.
 */
export const startToSendBack = (boot: number, stat: Stat, now: number) =>
  new Date(Math.min(latestStart(boot, stat) + SLACK_MS, now)).toISOString()
