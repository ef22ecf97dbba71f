import { statSync } from 'node:fs'
import process from 'node:process'
import { onLinux } from './proc.ts'
import { asKept, type Stat } from './stat.ts'

/** What nodeSignaller takes: what may be killed. */
export interface NodeSignallerOptions {
  /**
   * Processes that are never signalled, beside PID 1, this one and a parent that it has an IPC channel with (node:cluster,
   * PM2). Digits are a PID; all else is a name, of which the kernel keeps 15 bytes, and any process may take one.
   * Default: none.
   */
  protect?: readonly (number | string)[] | undefined
  /** User ids: only processes whose real and effective ones are both among them are signalled. Default: any. */
  onlyUids?: readonly number[] | undefined
}

const isOwnThread = (pid: number) => statSync(`/proc/self/task/${pid}`, { throwIfNoEntry: false }) !== undefined

const isPid = (entry: number | string) => /^[0-9]+$/.test(String(entry))

/**
 * What may be killed.
 *
 * @param seesProcesses - whether this system's /proc can be read.
 * @throws {Error} where it cannot, and the policy needs it.
 */
export const policyOf = ({ protect = [], onlyUids }: NodeSignallerOptions, seesProcesses: boolean) => {
  const names = new Set(protect.filter((entry) => !isPid(entry)).map((name) => asKept(String(name))))
  if ((names.size > 0 || onlyUids) && !seesProcesses)
    throw new Error(
      "This system's own /proc cannot be read. Without it no names can be protected and no user ids told: protect PIDs alone, allow all users (--protect, --only-uid), or make /proc readable.",
    )
  // The one it is a worker of, by node:cluster, say. Its siblings are not: under PM2 all apps have one parent.
  const parent = process.connected ? [process.ppid] : []
  const pids = new Set([1, process.pid, ...parent, ...protect.filter(isPid).map(Number)])
  const refuseUnseen = (protect.length > 0 || onlyUids !== undefined) && onLinux()

  return {
    /** Whether `forbids` asks for the user ids. */
    needsUids: onlyUids !== undefined,
    /** The reason not to signal the process; undefined where there is none, or no such process. */
    forbids: (pid: number, stat: Stat | undefined) => {
      if (pids.has(pid)) return 'protected'
      // It may be a thread of any process.
      if (!stat && refuseUnseen) return 'hidden'
      if (!stat) return seesProcesses && isOwnThread(pid) ? 'protected' : undefined
      if (stat.noSignal?.code === 'ESRCH') return undefined
      if (stat.command !== undefined && names.has(stat.command)) return 'protected'
      if (onlyUids && !stat.uids?.every((uid) => onlyUids.includes(uid))) return 'uid'
      return undefined
    },
  }
}
