import process from 'node:process'
import { type Conditions, MAX_PID, type Outcome, type OutcomeCode, type Signaller } from '../app/signaller.ts'
import { exitWatch } from './exit-poller.ts'
import { errorCode, latestStart, procLook } from './proc.ts'

/** What nodeSignaller takes. */
export interface NodeSignallerOptions {
  /** PIDs that are never signalled, beside 1 and this process. Default: none. */
  protect?: readonly number[] | undefined
}

/** kill(2), with its two expected errors as values. */
const sendSignal = (pid: number, signal: 'SIGTERM' | 0, command?: string): Outcome => {
  try {
    process.kill(pid, signal)
    return { code: 'sent', command }
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ESRCH' || code === 'EPERM') return { code, command }
    throw error
  }
}

/**
 * Sends SIGTERM with `process.kill`, on Node, Bun and Deno (`--allow-run`).
 *
 * On Linux it looks at `/proc/PID/stat` right before: what has terminated but is not reaped, and a thread's id, are
 * `ESRCH`; a kernel thread is `EPERM`, as PID 1, this process and the protected ones are everywhere. Where /proc may
 * hide a process (`hidepid`, asked once), kill(2) alone decides. Only with a /proc of its own (on Deno: `--allow-all`) has it
 * `terminateWith`.
 *
 * @returns a signaller; `terminate` throws a RangeError for what is not an integer from 1 to 2147483647, and whatever
 * the runtime throws beside ESRCH and EPERM.
 *
 * @example
 * ```ts
 * const app = createApp({ signaller: nodeSignaller({ protect: [process.ppid] }) })
 * ```
 */
export const nodeSignaller = ({ protect = [] }: NodeSignallerOptions = {}): Signaller => {
  const look = procLook()
  const protectedPids = new Set([1, process.pid, ...protect])

  /** Looks at the process, where there is a /proc to look at, and says what forbids to signal it, if anything. */
  const examine = (pid: number) => {
    // The app has checked it; whoever else calls this gets an error rather than kill(2)'s process groups.
    if (!Number.isInteger(pid) || pid < 1 || pid > MAX_PID) throw new RangeError(`Not a PID: ${pid}`)
    const seen = look?.(pid)
    const refused: OutcomeCode | undefined =
      protectedPids.has(pid) || seen?.kernelThread ? 'EPERM' : seen?.terminated || seen?.thread ? 'ESRCH' : undefined
    return { seen, refused: refused && { code: refused, command: seen?.command } }
  }

  const terminate = (pid: number): Outcome => {
    const { seen, refused } = examine(pid)
    return refused ?? sendSignal(pid, 'SIGTERM', seen?.command)
  }

  if (!look) return { terminate }
  const exits = exitWatch(look, (pid) => sendSignal(pid, 0).code === 'ESRCH')

  const terminateWith = async (pid: number, { startedBefore, waitMs, stopWaiting }: Conditions): Promise<Outcome> => {
    const { seen, refused } = examine(pid)
    if (refused) return refused
    if (!seen) {
      // Gone, or hidden from us: signal 0 tells which.
      const asked = sendSignal(pid, 0)
      if (asked.code !== 'sent') return asked
      return { code: startedBefore ? 'no startedBefore' : 'no waitMs' }
    }
    const { command, startTicks } = seen
    if (startedBefore && latestStart(seen) > startedBefore.getTime()) return { code: 'ESRCH', command }
    const outcome = sendSignal(pid, 'SIGTERM', command)
    if (outcome.code !== 'sent' || waitMs === undefined) return outcome
    const exited = await exits.wait({ pid, startTicks }, waitMs, stopWaiting)
    return { code: exited ? 'exited' : 'running', command }
  }

  return { terminate, terminateWith }
}
