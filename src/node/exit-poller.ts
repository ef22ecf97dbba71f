import type { Stat } from './stat.ts'

/** Which process, not only which PID: a successor with the same number is another one. */
export interface ProcessIdentity {
  readonly pid: number
  /** Undefined where /proc does not show it. */
  readonly startTicks?: number | undefined
}

interface Wait {
  readonly process: ProcessIdentity
  readonly deadline: number
  readonly stopWaiting: readonly AbortSignal[]
  readonly resolve: (exited: boolean) => void
}

/** The pause between two sweeps, in milliseconds, while the waits are few. */
const PAUSE_MS = 20
/** How long one sweep may read stats, in milliseconds, beside those of waits that are over; the next one goes on behind the last. */
const SWEEP_MS = 2
/** A sweep is followed by a pause of so many times its own length: less than a tenth of a core, however many wait. */
const PAUSE_FACTOR = 12
/** But no longer than this: a sweep looks long, too, where other programs had the core meanwhile. */
const LONGEST_PAUSE_MS = 100

/**
 * Waits for processes that are not our children, for which there is no event: one timer, however many wait.
 *
 * @param isGone - tells it of a process that `readStat` does not show.
 */
export const exitPoller = (readStat: (pid: number) => Stat | undefined, isGone: (pid: number) => boolean) => {
  const waits = new Set<Wait>()
  // One listener a signal, however many waits it stops: adding the thousandth to one signal is slow, and so is asking
  // thousands of signals in every sweep.
  const stoppedBy = new WeakMap<AbortSignal, Set<Wait>>()
  let polling = false

  const hasExited = ({ pid, startTicks }: ProcessIdentity) => {
    try {
      const stat = readStat(pid)
      if (!stat) return isGone(pid)
      return stat.noSignal?.code === 'ESRCH' || (startTicks !== undefined && stat.startTicks !== startTicks)
    } catch {
      // No file descriptor to read with, say: not known to have exited.
      return false
    }
  }

  const end = (wait: Wait, exited: boolean) => {
    waits.delete(wait)
    for (const signal of wait.stopWaiting) stoppedBy.get(signal)?.delete(wait)
    wait.resolve(exited)
  }

  const waitsEndedBy = (signal: AbortSignal) => {
    const stopped = new Set<Wait>()
    stoppedBy.set(signal, stopped)
    signal.addEventListener('abort', () => {
      for (const wait of stopped) end(wait, false)
    })
    return stopped
  }

  const sweep = () => {
    const start = performance.now()
    for (const wait of waits) if (wait.deadline <= start) end(wait, hasExited(wait.process))
    const sweepEnd = performance.now() + SWEEP_MS
    let reads = waits.size
    for (const wait of waits) {
      if (reads-- === 0 || performance.now() >= sweepEnd) break
      // To the end of the queue.
      waits.delete(wait)
      waits.add(wait)
      if (hasExited(wait.process)) end(wait, true)
    }
    polling = waits.size > 0
    if (!polling) return
    const pause = PAUSE_FACTOR * (performance.now() - start)
    setTimeout(sweep, Math.min(Math.max(PAUSE_MS, pause), LONGEST_PAUSE_MS))
  }

  return {
    /** Resolves with true once the process has terminated, with false after `waitMs` or when a signal aborts. */
    wait: (process: ProcessIdentity, waitMs: number, stopWaiting: readonly AbortSignal[]) =>
      new Promise<boolean>((resolve) => {
        if (stopWaiting.some((signal) => signal.aborted)) return resolve(false)
        const wait = { process, deadline: performance.now() + waitMs, stopWaiting, resolve }
        waits.add(wait)
        for (const signal of stopWaiting) (stoppedBy.get(signal) ?? waitsEndedBy(signal)).add(wait)
        if (!polling) setTimeout(sweep, Math.min(waitMs, PAUSE_MS))
        polling = true
      }),
  }
}
