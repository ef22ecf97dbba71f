/** What a request may ask for beside the signal, and a signaller must honour; each is a field of its body. */
export const CONDITIONS = ['startedBefore', 'waitMs', 'dryRun', 'command'] as const
export type Condition = (typeof CONDITIONS)[number]

/** The fields of a body beside the PID, in the order in which a wrong one is named. */
export const FIELDS = [...CONDITIONS, 'comment'] as const
export type Field = (typeof FIELDS)[number]

/**
 * What a signaller did, or why it did nothing. `ESRCH` and `EPERM` are the errors of kill(2).
 *
 * - `sent`: SIGTERM was sent; whether the process obeys is not known.
 * - `exited`, `running`: SIGTERM was sent, and within `waitMs` the process terminated, or did not.
 * - `would send`: SIGTERM would have been sent, but for `dryRun`. No signal.
 * - `ESRCH`: no such process, or it has already terminated, or it is not the one that was meant. No signal.
 * - `EPERM`: another user's process, or one that policy protects. No signal.
 * - `too many waits`: the limit of waits at once is reached. No signal.
 * - `no startedBefore`, `no waitMs`, and so on: this system cannot tell what the condition asks for. No signal.
 */
export type OutcomeCode =
  | 'sent'
  | 'exited'
  | 'running'
  | 'would send'
  | 'ESRCH'
  | 'EPERM'
  | 'too many waits'
  | `no ${Condition}`

/** What a dry run tells of a process, as far as the system does. */
export interface ProcessSeen {
  /** Its name, of at most 15 bytes, as the process chose it: to be sent back as `command`. */
  readonly command: string
  /** Its effective user id. */
  readonly uid?: number | undefined
  /** When it started, in ISO 8601 and a little late: to be sent back as `startedBefore`. */
  readonly startedAt?: string | undefined
}

/** What a signaller returns. */
export interface Outcome {
  readonly code: OutcomeCode
  /** The name of the process, for the record, where the signaller knows it. Untrusted: a process names itself. */
  readonly command?: string | undefined
  /** Why nothing was signalled, for the record, where the code leaves that open: `protected`, say. */
  readonly reason?: string | undefined
  /** The process that a dry run would have signalled, where the signaller sees it. */
  readonly process?: ProcessSeen | undefined
}

/** What a signaller tells while it works: the signal is out, or what follows is up to a peer. */
export interface Progress extends Pick<Outcome, 'command'> {
  readonly code: 'sent' | 'forwarded'
}

/** What comes with a PID. */
export interface Delivery extends Partial<Record<Field, unknown>> {
  /** Signal the process only if it started at or before this time. */
  readonly startedBefore?: Date | undefined
  /** After the signal, wait up to this many milliseconds (0 to 60000) for the process to exit. */
  readonly waitMs?: number | undefined
  /** Do all but the signal, and do not wait: `would send` where it would have gone out. */
  readonly dryRun?: true | undefined
  /** Signal the process only if this, cut to the 15 bytes that the kernel keeps, is its name. */
  readonly command?: string | undefined
  /** What the client says about it, for records alone: the app's, and those of a peer that is asked. */
  readonly comment?: string | undefined
  /**
   * When one of these aborts (the client left, the server stops), the wait ends at once: with `running`, or by a throw
   * where it is not known whether the signal was sent.
   */
  readonly stopWaiting: readonly AbortSignal[]
  /** To be called at once when the signal is out, and before a peer is asked: a record is made then, whatever follows. */
  readonly onSignal: (progress: Progress) => void
}

/**
 * Delivers SIGTERM to a process. One method is all that a signaller must have.
 *
 * A surprise is thrown and becomes the 500; an expected outcome is returned.
 *
 * @example
 * ```ts
 * const harmless: Signaller = { terminate: () => ({ code: 'EPERM' }) }
 * ```
 */
export interface Signaller {
  /**
   * The conditions that `terminate` honours. A request with another one is answered 501, and `terminate` is not called.
   * Default: none.
   */
  readonly supports?: readonly Condition[]

  /**
   * Sends SIGTERM, unless a condition forbids it.
   *
   * @param pid - an integer from 1 to 2147483647; the app passes nothing else.
   */
  terminate(pid: number, delivery: Delivery): Outcome | Promise<Outcome>
}

/** The largest PID that a kill call can take: `pid_t` is a signed 32-bit integer. */
export const MAX_PID = 2 ** 31 - 1
