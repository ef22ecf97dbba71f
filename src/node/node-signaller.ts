import { statSync } from 'node:fs'
import process from 'node:process'
import { type Condition, type Delivery, MAX_PID, type Outcome } from '../app/signaller.ts'
import { exitPoller } from './exit-poller.ts'
import { errorCode, onLinux } from './proc.ts'
import { latestBoot, latestStart, uptimeIsTheKernels } from './start-time.ts'
import { type Refusal, type Stat, statReader } from './stat.ts'

/** What nodeSignaller takes. */
export interface NodeSignallerOptions {
  /** PIDs that are never signalled, beside 1 and this process. Default: none. */
  protect?: readonly number[] | undefined
}

/** kill(2); returns its two expected errors. Nothing else in psys-kill sends a signal. */
const kill = (pid: number, signal: 'SIGTERM' | 0): Refusal | undefined => {
  try {
    process.kill(pid, signal)
    return undefined
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ESRCH' || code === 'EPERM') return { code }
    throw error
  }
}

const isOwnThread = (pid: number) => statSync(`/proc/self/task/${pid}`, { throwIfNoEntry: false }) !== undefined

/**
 * Sends SIGTERM with `process.kill`, on Node, Bun and Deno (`--allow-run`).
 *
 * On Linux it reads `/proc/PID/stat` right before: what has terminated but is not reaped, and a thread's id, are
 * `ESRCH`; a kernel thread is `EPERM`, as PID 1, this process and the protected ones are everywhere. Where /proc may
 * hide a process (`hidepid`, asked once) or cannot be read, kill(2) alone decides; but with `protect`, such a process is
 * `EPERM`, since the number may be a thread's of a protected one.
 *
 * @returns a signaller. It supports `waitMs` everywhere (a zombie that /proc does not show counts as running), and
 * `startedBefore` with a /proc of its own (on Deno: `--allow-all`) that has the kernel's uptime. `terminate` returns a
 * Promise only where there is a `waitMs`. It throws a RangeError for what is not an integer from 1 to 2147483647, and
 * whatever the runtime throws beside ESRCH and EPERM.
 *
 * @example
 * ```ts
 * const app = createApp({ signaller: nodeSignaller({ protect: [process.ppid] }) })
 * ```
 */
export const nodeSignaller = ({ protect = [] }: NodeSignallerOptions = {}) => {
  const readStat = statReader()
  const own = readStat(process.pid)
  const tellsStarts = own !== undefined && uptimeIsTheKernels(own)
  const supports: Condition[] = tellsStarts ? ['startedBefore', 'waitMs'] : ['waitMs']
  const protectedPids = new Set([1, process.pid, ...protect])
  const refuseUnseen = protect.length > 0 && onLinux()
  // It signals 4240 for 4241, 4242 and 4243, where every PID is a multiple of four.
  const killRounds = process.platform === 'win32'
  const exits = exitPoller(readStat, (pid) => kill(pid, 0)?.code === 'ESRCH')

  /** Why not to signal the process, if there is a reason. `boot` is undefined where starts cannot be told. */
  const refusalOf = (pid: number, stat: Stat | undefined, startedBefore?: Date, boot?: number): Refusal | undefined => {
    if (protectedPids.has(pid)) return { code: 'EPERM', reason: 'protected' }
    if (killRounds && pid % 4 !== 0) return { code: 'ESRCH' }
    if (stat?.refusal) return stat.refusal
    // What /proc does not show is hidden or gone: signal 0 tells.
    if (!stat && refuseUnseen) return kill(pid, 0) ?? { code: 'EPERM', reason: 'hidden' }
    if (!stat && own && isOwnThread(pid)) return { code: 'EPERM', reason: 'protected' }
    if (startedBefore === undefined) return undefined
    if (boot === undefined) return { code: 'no startedBefore' }
    if (!stat) return kill(pid, 0) ?? { code: 'no startedBefore' }
    // Not the other way round: an invalid date is no permission.
    if (latestStart(boot, stat) <= startedBefore.getTime()) return undefined
    return { code: 'ESRCH', reason: 'started later' }
  }

  const terminate = (
    pid: number,
    { startedBefore, waitMs, stopWaiting = [], onSignal }: Partial<Delivery> = {},
  ): Outcome | Promise<Outcome> => {
    // The app has checked it; whoever else calls this gets an error rather than kill(2)'s process groups.
    if (!Number.isInteger(pid) || pid < 1 || pid > MAX_PID) throw new RangeError(`Not a PID: ${pid}`)
    const boot = startedBefore !== undefined && tellsStarts ? latestBoot() : undefined
    // The last thing read before the kill: in between, the PID could pass to another process.
    const stat = readStat(pid)
    const command = stat?.command
    const refusal = refusalOf(pid, stat, startedBefore, boot) ?? kill(pid, 'SIGTERM')
    if (refusal) return { code: refusal.code, reason: refusal.reason, command }
    onSignal?.({ code: 'sent', command })
    if (waitMs === undefined) return { code: 'sent', command }
    const exited = exits.wait({ pid, startTicks: stat?.startTicks }, waitMs, stopWaiting)
    return exited.then((exited) => ({ code: exited ? 'exited' : 'running', command }))
  }

  return { supports, terminate }
}
