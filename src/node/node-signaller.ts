import process from 'node:process'
import { CONDITIONS, type Delivery, MAX_PID, type Outcome } from '../app/signaller.ts'
import { errorCode } from './error-code.ts'
import { exitPoller } from './exit-poller.ts'
import { type NodeSignallerOptions, policyOf } from './policy.ts'
import { bootClock, latestStart, startToSendBack, uptimeIsTheKernels } from './start-time.ts'
import { asKept, type NoSignal, type Stat, statReader } from './stat.ts'

/** kill(2); returns its two expected errors. Nothing else in psys-kill sends a signal. */
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

/** What a dry run tells of a process. */
const seen = (stat: Stat | undefined, boot: number | undefined, now: number) =>
  stat?.command === undefined
    ? undefined
    : {
        command: stat.command,
        uid: stat.uids?.[1],
        startedAt: boot === undefined ? undefined : startToSendBack(boot, stat, now),
      }

/**
 * Sends SIGTERM with `process.kill`, on Node, Bun and Deno (`--allow-run`).
 *
 * On Linux it reads `/proc/PID/stat` right before: what has terminated but is not reaped, and a thread's id, are
 * `ESRCH`; a kernel thread is `EPERM`, as PID 1, this process and the protected ones are everywhere. Where /proc may
 * hide a process (`hidepid`, asked once) or cannot be read, kill(2) alone decides; but with `protect`, such a process is
 * `EPERM`, since the number may be a thread's of a protected one.
 *
 * @returns a signaller. It supports `waitMs` (a zombie that /proc does not show counts as running) and `dryRun`
 * everywhere, `command` with a /proc of its own (on Deno: `--allow-all`), and `startedBefore` with one that has the
 * kernel's uptime. `terminate` returns a Promise only where there is a `waitMs` and no `dryRun`. It throws a RangeError
 * for what is not an integer from 1 to 2147483647, and whatever the runtime throws beside ESRCH and EPERM.
 * @throws {Error} where names or `onlyUids` are given and there is no such /proc.
 *
 * @example
 * ```ts
 * const app = createApp({ signaller: nodeSignaller({ protect: [process.ppid, 'sshd'], onlyUids: [1000] }) })
 * ```
 */
export const nodeSignaller = (options: NodeSignallerOptions = {}) => {
  const readStat = statReader()
  const own = readStat(process.pid)
  const policy = policyOf(options, own !== undefined)
  const tellsStarts = own !== undefined && uptimeIsTheKernels(own)
  const latestBoot = bootClock()
  const tells = { startedBefore: tellsStarts, waitMs: true, dryRun: true, command: own !== undefined }
  const supports = CONDITIONS.filter((name) => tells[name])
  // It signals 4240 for 4241, 4242 and 4243, where every PID is a multiple of four.
  const killRounds = process.platform === 'win32'
  const exits = exitPoller(readStat, (pid) => kill(pid, 0)?.code === 'ESRCH')

  /** Why not to signal the process, if there is a reason. `boot` is undefined where starts cannot be told. */
  const reasonNotTo = (
    pid: number,
    stat: Stat | undefined,
    { startedBefore, command }: Partial<Delivery>,
    boot: number | undefined,
  ): NoSignal | undefined => {
    const reason = policy.forbids(pid, stat)
    // What /proc does not show is hidden or gone: signal 0 tells.
    if (reason === 'hidden') return kill(pid, 0) ?? { code: 'EPERM', reason }
    if (reason) return { code: 'EPERM', reason }
    if (killRounds && pid % 4 !== 0) return { code: 'ESRCH' }
    if (stat?.noSignal) return stat.noSignal
    if (startedBefore !== undefined) {
      if (boot === undefined) return { code: 'no startedBefore' }
      if (!stat) return kill(pid, 0) ?? { code: 'no startedBefore' }
      // Not the other way round: an invalid date is no permission.
      if (!(latestStart(boot, stat) <= startedBefore.getTime())) return { code: 'ESRCH', reason: 'started later' }
    }
    if (command === undefined) return undefined
    if (!stat) return kill(pid, 0) ?? { code: 'no command' }
    return stat.command === asKept(command) ? undefined : { code: 'ESRCH', reason: 'other command' }
  }

  const terminate = (pid: number, delivery: Partial<Delivery> = {}): Outcome | Promise<Outcome> => {
    // The app has checked it; whoever else calls this gets an error rather than kill(2)'s process groups.
    if (!Number.isInteger(pid) || pid < 1 || pid > MAX_PID) throw new RangeError(`Not a PID: ${pid}`)
    const { startedBefore, waitMs, dryRun, stopWaiting = [], onSignal } = delivery
    const now = Date.now()
    const boot = (startedBefore !== undefined || dryRun) && tellsStarts ? latestBoot() : undefined
    // The last thing read before the kill: in between, the PID could pass to another process.
    const stat = readStat(pid, dryRun || policy.needsUids)
    const command = stat?.command
    // Signal 0 does all but the signal, kill(2) says.
    const noSignal = reasonNotTo(pid, stat, delivery, boot) ?? kill(pid, dryRun ? 0 : 'SIGTERM')
    if (noSignal) return { code: noSignal.code, reason: noSignal.reason, command }
    if (dryRun) return { code: 'would send', command, process: seen(stat, boot, now) }
    onSignal?.({ code: 'sent', command })
    if (waitMs === undefined) return { code: 'sent', command }
    const exited = exits.wait({ pid, startTicks: stat?.startTicks }, waitMs, stopWaiting)
    return exited.then((exited) => ({ code: exited ? 'exited' : 'running', command }))
  }

  return { supports, terminate }
}
