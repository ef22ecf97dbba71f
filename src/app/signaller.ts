/**
 * What a signaller did, or why it did nothing. `ESRCH` and `EPERM` are the errors of kill(2).
 *
 * - `sent`: SIGTERM was sent; whether the process obeys is not known.
 * - `exited`, `running`: SIGTERM was sent, and within `waitMs` the process terminated, or did not.
 * - `ESRCH`: no such process, or it has already terminated, or it is not the one that was meant. No signal.
 * - `EPERM`: another user's process, or one that policy protects. No signal.
 * - `no startedBefore`, `no waitMs`: this system cannot tell what the condition asks for. No signal.
 */
export type OutcomeCode = 'sent' | 'exited' | 'running' | 'ESRCH' | 'EPERM' | 'no startedBefore' | 'no waitMs'

/** What a signaller returns. */
export interface Outcome {
  readonly code: OutcomeCode
  /** The name of the process, for the record, where the signaller knows it. Untrusted: a process names itself. */
  readonly command?: string | undefined
}

/** What a request may ask for beside the signal. */
export interface Conditions {
  /** Signal the process only if it started at or before this time. */
  readonly startedBefore?: Date | undefined
  /** After the signal, wait up to this many milliseconds (0 to 60000) for the process to exit. */
  readonly waitMs?: number | undefined
  /**
   * When one of these aborts (the client left, the server stops), the wait ends at once: with `running`, or by a throw
   * where it is not known whether the signal was sent.
   */
  readonly stopWaiting: readonly AbortSignal[]
}

/**
 * Delivers SIGTERM to a process. One method is all that a signaller must have.
 *
 * A surprise is thrown and becomes the 500; an expected outcome is returned.
 *
 * @example
 * ```ts
 * const dryRun: Signaller = { terminate: () => ({ code: 'sent' }) }
 * ```
 */
export interface Signaller {
  /**
   * Sends SIGTERM.
   *
   * @param pid - an integer from 1 to 2147483647; the app passes nothing else.
   */
  terminate(pid: number): Outcome | Promise<Outcome>

  /**
   * Sends SIGTERM under conditions. A signaller without this method makes the app answer 501, unsignalled, to every
   * request with `startedBefore` or `waitMs`; one that can honour only some conditions answers `no …` to the others.
   */
  terminateWith?(pid: number, conditions: Conditions): Outcome | Promise<Outcome>
}

/** The largest PID that a kill call can take: `pid_t` is a signed 32-bit integer. */
export const MAX_PID = 2 ** 31 - 1
