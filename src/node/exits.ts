interface Wait {
  readonly hasExited: () => boolean
  readonly deadline: number
  readonly stopWaiting: readonly AbortSignal[]
  readonly resolve: (exited: boolean) => void
}

/** The pause between two sweeps, in milliseconds. */
const PAUSE_MS = 20
/** A pause is at least this many times as long as the sweep: at most a twentieth of a core, however many wait. */
const PAUSE_FACTOR = 20

/**
 * Waits for processes that are not our children: Node has no event for their exit. One timer serves all waits.
 *
 * @returns a function that calls `hasExited` at the end of each pause. It resolves with true when `hasExited` returns
 *   true. It resolves with false after `waitMs` milliseconds, or when an AbortSignal in `stopWaiting` aborts.
 */
export const exitWatch = () => {
  const waits = new Set<Wait>()

  const sweep = () => {
    const start = performance.now()
    for (const wait of waits) {
      const exited = wait.hasExited()
      if (!exited && wait.deadline > start && !wait.stopWaiting.some(({ aborted }) => aborted)) continue
      waits.delete(wait)
      wait.resolve(exited)
    }
    if (waits.size > 0) setTimeout(sweep, Math.max(PAUSE_MS, PAUSE_FACTOR * (performance.now() - start)))
  }

  return (hasExited: () => boolean, waitMs: number, stopWaiting: readonly AbortSignal[]) =>
    new Promise<boolean>((resolve) => {
      waits.add({ hasExited, deadline: performance.now() + waitMs, stopWaiting, resolve })
      if (waits.size === 1) setTimeout(sweep, Math.min(waitMs, PAUSE_MS))
    })
}
