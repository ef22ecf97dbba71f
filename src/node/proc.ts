import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import process from 'node:process'

/** What one read of `/proc/PID/stat` tells of a process (proc_pid_stat(5)). */
export interface ProcessLook {
  /** The name, as the process chose it; undefined where it is gone. */
  readonly command: string | undefined
  /** It has terminated, whether or not its parent has reaped it yet. */
  readonly terminated: boolean
  /** The number names a thread of a process, not a process. */
  readonly thread: boolean
  readonly kernelThread: boolean
  /** Clock ticks from boot to its start: with the PID, what identifies a process. */
  readonly startTicks: number
}

/** A clock tick in milliseconds: USER_HZ is 100 on every architecture that Node runs on. */
const TICK_MS = 10
const PF_KTHREAD = 0x200000

const buffer = Buffer.allocUnsafe(4096)

// Into a buffer that is there already: half the system calls of readFileSync.
const read = (path: string) => {
  const file = openSync(path, 'r')
  try {
    return buffer.toString('utf8', 0, readSync(file, buffer))
  } finally {
    closeSync(file)
  }
}

// Fields 2, 3, 9, 20, 22 and 38 of the man page. The name may itself have parentheses and spaces: it ends at the last one.
const STAT = /\((.*)\) (\S)(?: \S+){5} (\d+)(?: \S+){10} (\d+) \S+ (\d+)(?: \S+){15} (-?\d+)/s

const parse = (stat: string): ProcessLook => {
  const [, command, state, flags, threads, startTicks, exitSignal] = STAT.exec(stat) ?? []
  if (command === undefined) throw new Error(`Not the stat of a process: ${stat}`)
  return {
    command,
    // A leader that has exited while other threads run on looks like a zombie, but its process lives.
    terminated: (state === 'Z' || state === 'X') && Number(threads) <= 1,
    kernelThread: (Number(flags) & PF_KTHREAD) !== 0,
    startTicks: Number(startTicks),
    thread: exitSignal === '-1',
  }
}

/** The code of a system error, or undefined for anything else. */
export const errorCode = (error: unknown) => (error instanceof Error && 'code' in error ? error.code : undefined)

/**
 * Whether /proc shows this process under its own PID. It does not on other systems, where it is not mounted, where it
 * belongs to another PID namespace, and where a runtime's permissions keep it closed.
 */
const procIsOurs = () => {
  try {
    return read('/proc/self/stat').startsWith(`${process.pid} `)
  } catch {
    return false
  }
}

/** Whether it shows everybody's processes (proc_pid_mountinfo(5) names `hidepid` where it is mounted with that). */
const procHidesNothing = () => {
  try {
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8')
    return / \/proc .* - proc /.test(mounts) && !/ \/proc .* - proc .*\bhidepid=/.test(mounts)
  } catch {
    return false
  }
}

const GONE: ProcessLook = {
  command: undefined,
  terminated: true,
  thread: false,
  kernelThread: false,
  startTicks: Number.NaN,
}

/**
 * The look at a process, or undefined where there is no /proc of our own to look at. It returns undefined where /proc
 * may hide the process, and throws when it cannot tell (EMFILE, say).
 */
export const procLook = () => {
  if (!procIsOurs()) return undefined
  const absent = procHidesNothing() ? GONE : undefined
  return (pid: number): ProcessLook | undefined => {
    try {
      return parse(read(`/proc/${pid}/stat`))
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ENOENT' || code === 'ESRCH') return absent
      if (code === 'EACCES' || code === 'EPERM') return undefined
      throw error
    }
  }
}

/**
 * The latest moment, in milliseconds of the wall clock as it is now, at which the process can have started.
 *
 * Each of the three readings is cut off: ticks and uptime to 10 ms, the clock to 1 ms. All of it is added, so the
 * result is up to 21 ms late and never early. (`btime` of /proc/stat would be off by up to a second.)
 */
export const latestStart = ({ startTicks }: ProcessLook) => {
  const uptimeMs = Number.parseFloat(readFileSync('/proc/uptime', 'latin1')) * 1000
  return Date.now() + 1 - uptimeMs + (startTicks + 1) * TICK_MS
}

/** Whether this process may signal those of other users: CAP_KILL is bit 5 (capabilities(7)); elsewhere, root may. */
export const mayKillOthers = () => {
  try {
    if (!procIsOurs()) return process.getuid?.() === 0
    const [, effective = ''] = /^CapEff:\s*(\S+)/m.exec(read('/proc/self/status')) ?? []
    return (Number.parseInt(effective, 16) & 0x20) !== 0
  } catch {
    // Deno does not say without --allow-sys.
    return false
  }
}
