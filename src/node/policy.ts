import { statSync } from 'node:fs'
import { MAX_PID, type SignallerReason } from '../app/signaller.ts'
import { onLinux } from './proc.ts'
import { asKept, type Stat } from './stat.ts'

/** The options of nodeSignaller: what may be killed. */
export interface NodeSignallerOptions {
  /**
   * Processes that are never signalled. PID 1, this process, and a parent with an IPC channel to it (node:cluster, PM2)
   * are always among them. A number, or a string of digits, is a PID. Any other string is a name. Only its first 15
   * bytes count, as the kernel keeps no more. Any process may take any name. Default: none.
   */
  protect?: readonly (number | string)[] | undefined
  /** Signal a process only if its real and its effective user id are both in this list. Default: any user. */
  onlyUids?: readonly number[] | undefined
}

const isOwnThread = (pid: number) => statSync(`/proc/self/task/${pid}`, { throwIfNoEntry: false }) !== undefined

const isPid = (entry: number | string) => /^[0-9]+$/.test(String(entry))

/** A name has a letter, and no white space around it. Anything else is a misspelt PID, or matches no process. */
export const isPidOrName = (entry: number | string) =>
  isPid(entry) ? Number(entry) > 0 && Number(entry) <= MAX_PID : /^(?!\s)[^\0]*\p{L}[^\0]*(?<!\s)$/u.test(String(entry))

/**
 * Decides what may be killed.
 *
 * @param seesProcesses - whether this system's /proc can be read.
 * @throws {TypeError} if `protect` has an entry that is neither a PID nor a name.
 * @throws {Error} if /proc cannot be read, but the options need it.
 */
export const policyOf = ({ protect = [], onlyUids }: NodeSignallerOptions, seesProcesses: boolean) => {
  if (!protect.every(isPidOrName)) throw new TypeError('protect takes PIDs and names of processes')
  const names = new Set(protect.filter((entry) => !isPid(entry)).map((name) => asKept(String(name))))
  if ((names.size > 0 || onlyUids) && !seesProcesses)
    throw new Error(`Names in protect, and onlyUids, need ${onLinux() ? 'a usable /proc' : 'Linux'}: leave them out`)
  // The parent of a cluster worker. The other workers are not protected: under PM2, they may be other apps.
  const parent = process.connected ? [process.ppid] : []
  const pids = new Set([1, process.pid, ...parent, ...protect.filter(isPid).map(Number)])
  const refuseUnseen = (protect.length > 0 || onlyUids !== undefined) && onLinux()

  return {
    /** Whether `forbids` needs the user ids. */
    needsUids: onlyUids !== undefined,
    /** Returns why not to signal the process; undefined if the policy allows it, or if the process does not exist. */
    forbids: (pid: number, stat: Stat | undefined): SignallerReason | undefined => {
      if (pids.has(pid)) return 'protected'
      // An unseen PID may be a thread of a protected process.
      if (!stat && refuseUnseen) return 'hidden'
      if (!stat) return seesProcesses && isOwnThread(pid) ? 'protected' : undefined
      if (stat.noSignal?.code === 'ESRCH') return undefined
      if (stat.command !== undefined && names.has(stat.command)) return 'protected'
      return onlyUids && !stat.uids?.every((uid) => onlyUids.includes(uid)) ? 'uid' : undefined
    },
  }
}
