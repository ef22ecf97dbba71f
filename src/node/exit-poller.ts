import type { ProcessLook } from './proc.ts'

/** Which process, not only which PID: a successor with the same number is another one. */
export interface ProcessIdentity extends Pick<ProcessLook, 'startTicks'> {
  readonly pid: number
}

interface Wait {
  readonly process: ProcessIdentity
  readonly deadline: number
  readonly stopWaiting: readonly AbortSignal[]
  readonly settle: (exited: boolean) => void
}

/** How often the waits are gone through, in milliseconds, while they are few. */
const TICK_MS = 20
/** How long one tick may look at processes, in milliseconds; the next one goes on behind the last one looked at. */
const LOOKS_MS = 2
/** A tick is followed by a pause of so many times its own length: less than a tenth of a core, however many wait. */
const PAUSE = 12

/** Waits for processes that are not our children, for which there is no event: one timer, however many wait. */
export const exitWatch = (look: (pid: number) => ProcessLook | undefined, isGone: (pid: number) => boolean) => {
  const waits = new Set<Wait>()
  // One listener a signal, however many waits it stops: adding the thousandth to one signal is slow, and so is asking
  // thousands of signals at every tick.
  const stoppedBy = new WeakMap<AbortSignal, Set<Wait>>()
  let turn = waits.values()
  let ticking = false

  const hasExited = ({ pid, startTicks }: ProcessIdentity) => {
    try {
      const now = look(pid)
      // Where /proc may hide processes, one can also have become hidden.
      return now ? now.terminated || now.startTicks !== startTicks : isGone(pid)
    } catch {
      // No file descriptor to look with, say: not known to have exited.
      return false
    }
  }

  const end = (wait: Wait, exited: boolean) => {
    waits.delete(wait)
    for (const signal of wait.stopWaiting) stoppedBy.get(signal)?.delete(wait)
    wait.settle(exited)
  }

  const listen = (signal: AbortSignal) => {
    const stopped = new Set<Wait>()
    stoppedBy.set(signal, stopped)
    signal.addEventListener('abort', () => {
      for (const wait of stopped) end(wait, false)
    })
    return stopped
  }

  const tick = () => {
    const start = performance.now()
    for (const wait of waits) if (wait.deadline <= start) end(wait, hasExited(wait.process))
    const looksEnd = performance.now() + LOOKS_MS
    for (let looks = waits.size; looks > 0 && performance.now() < looksEnd; looks--) {
      let next = turn.next()
      if (next.done) {
        turn = waits.values()
        next = turn.next()
      }
      if (next.done) break
      if (hasExited(next.value.process)) end(next.value, true)
    }
    ticking = waits.size > 0
    if (ticking) setTimeout(tick, Math.max(TICK_MS, PAUSE * (performance.now() - start)))
  }

  return {
    /** Resolves with true once the process has terminated, with false after `waitMs` or when a signal aborts. */
    wait: (process: ProcessIdentity, waitMs: number, stopWaiting: readonly AbortSignal[]) =>
      new Promise<boolean>((settle) => {
        if (stopWaiting.some((signal) => signal.aborted)) return settle(false)
        const wait = { process, deadline: performance.now() + waitMs, stopWaiting, settle }
        waits.add(wait)
        for (const signal of stopWaiting) (stoppedBy.get(signal) ?? listen(signal)).add(wait)
        if (!ticking) setTimeout(tick, Math.min(waitMs, TICK_MS))
        ticking = true
      }),
  }
}
