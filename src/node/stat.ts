import type { Outcome } from '../app/signaller.ts'
import { errorCode, procHidesNothing, procIsOurs, readShort } from './proc.ts'

/** Why not to signal a process. */
export interface Refusal extends Pick<Outcome, 'reason'> {
  readonly code: 'EPERM' | 'ESRCH' | 'no startedBefore'
}

/** What one read of `/proc/PID/stat` tells of a process (proc_pid_stat(5)); where it is gone, the refusal alone. */
export interface Stat {
  /** The name, as the process chose it. */
  readonly command?: string
  /** Clock ticks from boot to its start: with the PID, what identifies a process. */
  readonly startTicks?: number
  /** Why not to signal it, if there is a reason. `ESRCH`: there is no such process, or none any more. */
  readonly refusal?: Refusal | undefined
}

// Fields 2, 3, 9, 20, 22 and 38 of the man page. The name may itself have parentheses and spaces: it ends at the last one.
const STAT = /\((.*)\) (\S)(?: \S+){5} (\d+)(?: \S+){10} (\d+) \S+ (\d+)(?: \S+){15} (-?\d+)/s

const PF_KTHREAD = 0x200000

const parse = (pid: number, text: string): Stat => {
  const [, command, state, flags, threads, startTicks, exitSignal] = STAT.exec(text) ?? []
  if (command === undefined || !text.startsWith(`${pid} `)) throw new Error(`Not the stat of process ${pid}: ${text}`)
  const stat = { command, startTicks: Number(startTicks) }
  if (Number(flags) & PF_KTHREAD) return { ...stat, refusal: { code: 'EPERM', reason: 'kernel thread' } }
  if (exitSignal === '-1') return { ...stat, refusal: { code: 'ESRCH', reason: 'thread' } }
  // A first thread that has exited while others run on looks like a zombie, but its process lives.
  if ((state === 'Z' || state === 'X') && Number(threads) <= 1)
    return { ...stat, refusal: { code: 'ESRCH', reason: 'zombie' } }
  return stat
}

const GONE: Stat = { refusal: { code: 'ESRCH' } }

/**
 * Makes the function that reads the stat of a process. That returns undefined where there is no /proc of our own, or
 * where this one may hide the process, and throws where it cannot tell (EMFILE, say).
 */
export const statReader = (): ((pid: number) => Stat | undefined) => {
  if (!procIsOurs()) return () => undefined
  const absent = procHidesNothing() ? GONE : undefined
  return (pid) => {
    try {
      return parse(pid, readShort(`/proc/${pid}/stat`))
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ENOENT' || code === 'ESRCH') return absent
      if (code === 'EACCES' || code === 'EPERM') return undefined
      throw error
    }
  }
}
