import type { Outcome } from '../app/signaller.ts'
import { errorCode } from './error-code.ts'
import { procHidesNothing, procIsOurs, readShort } from './proc.ts'

/** Why not to signal a process. */
export interface NoSignal extends Pick<Outcome, 'reason'> {
  readonly code: 'EPERM' | 'ESRCH' | 'no startedBefore' | 'no command'
}

/** What one read of `/proc/PID/stat` tells of a process (proc_pid_stat(5)); where it is gone, `noSignal` alone. */
export interface Stat {
  /** The name, as the process chose it. */
  readonly command?: string
  /** Clock ticks from boot to its start: with the PID, what identifies a process. */
  readonly startTicks?: number
  /** Its real and its effective user id, where they were asked for and `/proc/PID/status` tells them. */
  readonly uids?: readonly number[] | undefined
  /** Why not to signal it, if there is a reason. `ESRCH`: there is no such process, or none any more. */
  readonly noSignal?: NoSignal | undefined
}

// Fields 2, 3, 9, 20, 22 and 38 of the man page. The name may itself have parentheses and spaces: it ends at the last one.
const STAT = /\((.*)\) (\S)(?: \S+){5} (\d+)(?: \S+){10} (\d+) \S+ (\d+)(?: \S+){15} (-?\d+)/s

const PF_KTHREAD = 0x200000

/** A name as the kernel keeps it: 15 bytes of it (TASK_COMM_LEN), read as the names of processes are. */
export const asKept = (name: string) => Buffer.from(name).toString('utf8', 0, 15)

const readUids = (pid: number) => {
  // In the name, which stands before it, the kernel escapes newlines.
  const [, real, effective] = /\nUid:\t(\d+)\t(\d+)\t/.exec(readShort(`/proc/${pid}/status`)) ?? []
  return real === undefined ? undefined : [Number(real), Number(effective)]
}

const parse = (pid: number, text: string, uids: Stat['uids']): Stat => {
  const [, command, state, flags, threads, startTicks, exitSignal] = STAT.exec(text) ?? []
  if (command === undefined || !text.startsWith(`${pid} `)) throw new Error(`Not the stat of process ${pid}: ${text}`)
  const stat = (noSignal?: NoSignal): Stat => ({ command, startTicks: Number(startTicks), uids, noSignal })
  if (Number(flags) & PF_KTHREAD) return stat({ code: 'EPERM', reason: 'kernel thread' })
  if (exitSignal === '-1') return stat({ code: 'ESRCH', reason: 'thread' })
  // A first thread that has exited while others run on looks like a zombie, but its process lives.
  if ((state === 'Z' || state === 'X') && Number(threads) <= 1) return stat({ code: 'ESRCH', reason: 'zombie' })
  return stat()
}

const GONE: Stat = { noSignal: { code: 'ESRCH' } }

/**
 * Makes the function that reads the stat of a process, and `withUids` its user ids. That returns undefined where there
 * is no /proc of our own, or where this one may hide the process, and throws where it cannot tell (EMFILE, say).
 */
export const statReader = (): ((pid: number, withUids?: boolean) => Stat | undefined) => {
  if (!procIsOurs()) return () => undefined
  const absent = procHidesNothing() ? GONE : undefined
  return (pid, withUids = false) => {
    try {
      let uids: Stat['uids']
      // A stat can only be read as long as the process is there that it was opened for: so both are of one process.
      const text = readShort(`/proc/${pid}/stat`, () => {
        if (withUids) uids = readUids(pid)
      })
      return parse(pid, text, uids)
    } catch (error) {
      const code = errorCode(error)
      if (code === 'ENOENT' || code === 'ESRCH') return absent
      if (code === 'EACCES' || code === 'EPERM') return undefined
      throw error
    }
  }
}
