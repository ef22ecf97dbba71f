import { orUndefined } from './proc.ts'

/** The pause between two sweeps, in milliseconds. */
const PAUSE_MS = 20
/** A pause is at least this many times as long as the sweep: 3.8 % of a core, and measured with the timer 4.4 %. */
const PAUSE_FACTOR = 25

/**
 * Waits for processes that are not our children: Node has no event for their exit. One timer serves all waits.
 *
 * @returns a function that calls `hasExited` at the end of each pause.
 *   - It resolves with `exited` when `hasExited` returns true. If `hasExited` throws, for example because no file
 *     descriptor is left, the process counts as running.
 *   - It resolves with `running` after `waitMs` milliseconds, or when an AbortSignal in `stopWaiting` aborts.
 */
export const exitWatch = () => {
  /** Each function checks one wait, and returns whether it is over. */
  const waits = new Set<(now: number) => boolean>()

  const sweep = () => {
    const start = performance.now()
    for (const isOver of waits) if (isOver(start)) waits.delete(isOver)
    if (waits.size > 0) setTimeout(sweep, Math.max(PAUSE_MS, PAUSE_FACTOR * (performance.now() - start)))
  }

  return (hasExited: () => boolean, waitMs: number, stopWaiting: readonly AbortSignal[]) =>
    new Promise<'exited' | 'running'>((resolve) => {
      const deadline = performance.now() + waitMs
      waits.add((now) => {
        const exited = orUndefined(hasExited)
        const isOver = exited || now >= deadline || stopWaiting.some(({ aborted }) => aborted)
        if (isOver) resolve(exited ? 'exited' : 'running')
        return isOver
      })
      if (waits.size === 1) setTimeout(sweep, Math.min(waitMs, PAUSE_MS))
    })
}
