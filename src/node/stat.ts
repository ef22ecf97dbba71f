import type { Outcome } from '../app/signaller.ts'
import { errorCode, procHidesNothing, procIsOurs, readShort } from './proc.ts'

/** Why not to signal a process. */
export type NoSignal = Pick<Outcome, 'reason'> & { readonly code: 'EPERM' | 'ESRCH' | 'no instance' | 'no command' }

/** What `/proc/PID/stat` tells about a process (proc_pid_stat(5)). If the process is gone, only `noSignal` is set. */
export interface Stat {
  /** The name, as the process chose it. */
  readonly command?: string
  /** Its start in clock ticks since boot. Together with the PID, it identifies a process. */
  readonly startTicks?: number
  /** Its real and its effective user id, if `withUids` was set and `/proc/PID/status` tells them. */
  readonly uids?: readonly number[] | undefined
  /** Why not to signal it. */
  readonly noSignal?: NoSignal | undefined
}

// Fields 2, 3, 9, 20, 22 and 38. The name may contain parentheses and spaces: it ends at the last parenthesis.
const STAT = /\((.*)\) (\S)(?: \S+){5} (\d+)(?: \S+){10} (\d+) \S+ (\d+)(?: \S+){15} (-?\d+)/s

const PF_KTHREAD = 0x200000

/** Cuts a name to 15 bytes, as the kernel does (TASK_COMM_LEN). */
export const asKept = (name: string) => Buffer.from(name).toString('utf8', 0, 15)

const readUids = (pid: number) => {
  // A name cannot imitate this line: the kernel escapes newlines in names.
  const [, real, effective] = /\nUid:\t(\d+)\t(\d+)\t/.exec(readShort(`/proc/${pid}/status`)) ?? []
  return real === undefined ? undefined : [Number(real), Number(effective)]
}

const parse = (pid: number, text: string, uids: Stat['uids']): Stat => {
  const [, command, state, flags, threads, startTicks, exitSignal] = STAT.exec(text) ?? []
  if (command === undefined || !text.startsWith(`${pid} `)) throw new Error(`Not the stat of process ${pid}: ${text}`)
  const stat = (noSignal?: NoSignal): Stat => ({ command, startTicks: Number(startTicks), uids, noSignal })
  if (Number(flags) & PF_KTHREAD) return stat({ code: 'EPERM', reason: 'kernel thread' })
  if (exitSignal === '-1') return stat({ code: 'ESRCH', reason: 'thread' })
  // If only the first thread has exited, the state is Z as well, but the process lives.
  if ((state === 'Z' || state === 'X') && Number(threads) <= 1) return stat({ code: 'ESRCH', reason: 'zombie' })
  return stat()
}

/**
 * Makes the function that reads the stat of a process, and its user ids if `withUids` is set.
 *
 * The function returns undefined if /proc cannot be read, or if /proc may hide the process. It throws any other error,
 * EMFILE for example.
 */
export const statReader = (): ((pid: number, withUids?: boolean) => Stat | undefined) => {
  if (!procIsOurs()) return () => undefined
  const absent: Stat | undefined = procHidesNothing() ? { noSignal: { code: 'ESRCH', reason: 'gone' } } : undefined
  return (pid, withUids = false) => {
    try {
      let uids: Stat['uids']
      // An open stat can be read only while its process exists. So the user ids belong to the same process.
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
