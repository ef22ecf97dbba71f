interface Wait {
  readonly hasExited: () => boolean
  readonly deadline: number
  readonly stopWaiting: readonly AbortSignal[]
  readonly resolve: (exited: boolean) => void
}

/** The pause between two sweeps, in milliseconds. */
const PAUSE_MS = 20
/** If a sweep takes longer than usual, so does the pause: at most a twentieth of a core, however many requests wait. */
const PAUSE_FACTOR = 20

/**
 * Waits for processes that are not our children, for which there is no event. One timer serves all waits.
 *
 * @returns a function that resolves with true when `hasExited` returns true, and with false after `waitMs` milliseconds
 *   or when one of the signals aborts. `hasExited` is called at the end of each pause.
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
