import { CONDITIONS, type Condition, type Delivery, MAX_PID, type Outcome, type ProcessSeen } from '../app/signaller.ts'
import { exitWatch } from './exits.ts'
import { type NodeSignallerOptions, policyOf } from './policy.ts'
import { errorCode, readBootId, readUptime } from './proc.ts'
import { asKept, type NoSignal, type Stat, statReader } from './stat.ts'

/** Calls kill(2). Returns the two expected errors, throws any other. Nothing else in psys-kill sends a signal. */
const kill = (pid: number, signal: 'SIGTERM' | 0): NoSignal | undefined => {
  try {
    process.kill(pid, signal)
    return undefined
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ESRCH' || code === 'EPERM') return { code }
    throw error
  }
}

/** A clock tick in milliseconds: USER_HZ is 100 on every architecture that Node runs on. */
const CLOCK_TICK_MS = 10

/**
 * Sends SIGTERM with `process.kill`, on Node, Bun and Deno (`--allow-run`).
 *
 * On Linux it reads `/proc/PID/stat` right before the signal:
 * - A process that has terminated but is not reaped, and the id of a thread, are `ESRCH`.
 * - A kernel thread is `EPERM`. So are PID 1, this process and the protected ones, on every system.
 * - If /proc cannot be read, or may hide the process (`hidepid`), kill(2) alone decides. But with `protect` or
 *   `onlyUids`, such a process is `EPERM`, because the policy may forbid its signal.
 *
 * @returns a signaller. It supports `waitMs` and `dryRun` everywhere. It supports `instance` and `command` if it can
 *   read /proc (on Deno: `--allow-all`). A zombie that /proc does not show counts as running.
 *   - `terminate` returns a Promise only with `waitMs` and without `dryRun`.
 *   - It throws a RangeError if the PID is not an integer from 1 to 2147483647.
 *   - It throws every error of the runtime except ESRCH and EPERM.
 * @throws {TypeError} if `protect` has an entry that is neither a PID nor a name.
 * @throws {Error} if `protect` has names, or `onlyUids` is set, and /proc cannot be read.
 *
 * @example
 * ```ts
 * import { createApp } from 'psys-kill'
 * import { nodeSignaller } from 'psys-kill/node'
 *
 * export const app = createApp({ signaller: nodeSignaller({ protect: [process.ppid, 'sshd'], onlyUids: [1000] }) })
 * ```
 */
export const nodeSignaller = (options: NodeSignallerOptions = {}) => {
  const readStat = statReader()
  const own = readStat(process.pid)
  const policy = policyOf(options, own !== undefined)
  const boot = own && readBootId()
  // The uptime of a container (lxcfs) begins later than the clock of the start ticks. By that uptime, this process would
  // be younger than it is.
  const tellsStarts = own && readUptime() - (Number(own.startTicks) * CLOCK_TICK_MS) / 1000 >= process.uptime() - 1
  const wait = exitWatch()

  /** The instance of a process; undefined if this system does not tell. */
  const instanceOf = (pid: number, stat: Stat | undefined) => boot && stat && `${boot}-${pid}-${stat.startTicks}`

  /** What this system can check. A new condition does not compile until it is here. */
  const canCheck: Record<Condition, boolean> = {
    instance: boot !== undefined,
    waitMs: true,
    dryRun: true,
    command: own !== undefined,
  }

  /** Why not to signal the process, if there is a reason. */
  const reasonNotTo = (pid: number, stat: Stat | undefined, delivery: Partial<Delivery>): NoSignal | undefined => {
    const reason = policy.forbids(pid, stat)
    // A process that /proc does not show is hidden or gone: signal 0 tells which.
    if (reason === 'hidden') return kill(pid, 0) ?? { code: 'EPERM', reason }
    if (reason) return { code: 'EPERM', reason }
    // On Windows, PIDs are multiples of four, and kill rounds down: 4241 would end 4240.
    if (process.platform === 'win32' && pid % 4 !== 0) return { code: 'ESRCH' }
    if (stat?.noSignal) return stat.noSignal
    const unmet = (name: 'instance' | 'command', asked?: string, seen?: string): NoSignal | undefined => {
      if (asked === undefined || asked === seen) return undefined
      return seen === undefined ? (kill(pid, 0) ?? { code: `no ${name}` }) : { code: 'ESRCH', reason: `other ${name}` }
    }
    const command = delivery.command && asKept(delivery.command)
    return unmet('instance', delivery.instance, instanceOf(pid, stat)) ?? unmet('command', command, stat?.command)
  }

  /** Whether the process has exited. If /proc does not show the process, ask with signal 0. */
  const hasExited = (pid: number, startTicks: number | undefined) => {
    const now = readStat(pid)
    if (!now) return kill(pid, 0)?.code === 'ESRCH'
    return now.noSignal?.code === 'ESRCH' || (startTicks !== undefined && now.startTicks !== startTicks)
  }

  const describe = (pid: number, stat: Stat | undefined): ProcessSeen | undefined => {
    if (stat?.command === undefined) return undefined
    const startMs = Date.now() - readUptime() * 1000 + Number(stat.startTicks) * CLOCK_TICK_MS
    return {
      command: stat.command,
      uid: stat.uids?.[1],
      instance: instanceOf(pid, stat),
      startedAt: tellsStarts ? new Date(startMs).toISOString() : undefined,
    }
  }

  const terminate = (pid: number, delivery: Partial<Delivery> = {}): Outcome | Promise<Outcome> => {
    // The app checks the PID. Other callers may not, and kill(2) takes 0 and below for process groups.
    if (!Number.isInteger(pid) || pid < 1 || pid > MAX_PID) throw new RangeError('Not an integer from 1 to 2147483647')
    const { waitMs, dryRun, stopWaiting = [], onSignal } = delivery
    // Keep this read right before the kill: in between, the PID could pass to another process.
    const stat = readStat(pid, dryRun || policy.needsUids)
    const command = stat?.command
    // Signal 0 makes kill(2) check everything and send nothing.
    const noSignal = reasonNotTo(pid, stat, delivery) ?? kill(pid, dryRun ? 0 : 'SIGTERM')
    if (noSignal) return { code: noSignal.code, reason: noSignal.reason, command }
    if (dryRun) return { code: 'would send', command, process: describe(pid, stat) }
    onSignal?.({ code: 'sent', command })
    if (waitMs === undefined) return { code: 'sent', command }
    return wait(() => hasExited(pid, stat?.startTicks), waitMs, stopWaiting).then((code) => ({ code, command }))
  }

  return { supports: CONDITIONS.filter((name) => canCheck[name]), terminate }
}
