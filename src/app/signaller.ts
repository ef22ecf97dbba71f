/** The optional fields that need the signaller's support. The app answers 501 to a field that is not in `supports`. */
export const CONDITIONS = ['instance', 'waitMs', 'dryRun', 'command'] as const
export type Condition = (typeof CONDITIONS)[number]

/** The optional fields of a body. If several are wrong, the answer names the first in this order. */
export const FIELDS = [...CONDITIONS, 'comment'] as const
export type Field = (typeof FIELDS)[number]

const GONE = ['gone', 'zombie', 'thread', 'other instance', 'other command'] as const
const FORBIDDEN = ['not permitted', 'protected', 'kernel thread', 'uid', 'hidden'] as const
/** Why a signaller sent no signal: the reasons of 404, then of 403, of 501 and of 503. */
export const SIGNALLER_REASONS = [...GONE, ...FORBIDDEN, 'not supported', 'too many waits'] as const
export type SignallerReason = (typeof SIGNALLER_REASONS)[number]

/** The outcomes of a request whose signal was sent. */
type Signalled = 'sent' | 'exited' | 'running'

/**
 * What a signaller did. `ESRCH` and `EPERM` are the errors of kill(2).
 *
 * - `sent`: SIGTERM was sent. The process may ignore it.
 * - `exited`, `running`: SIGTERM was sent. Within `waitMs` the process exited, or it did not.
 * - `would send`: SIGTERM would have been sent, but `dryRun` was set. No signal.
 * - `ESRCH`: no such process, it has already terminated, or `instance` or `command` does not match. No signal.
 * - `EPERM`: another user's process, or one that policy protects. No signal.
 * - `too many waits`: the limit of simultaneous waits is reached. No signal.
 * - `no instance`, `no waitMs`, and so on: the signaller does not support this field here. No signal.
 */
export type OutcomeCode = Signalled | 'would send' | 'ESRCH' | 'EPERM' | 'too many waits' | `no ${Condition}`

/** What a dry run tells about a process. A field is undefined if the system does not tell it. */
export interface ProcessSeen {
  /** Its name, as the process chose it: at most 15 bytes. Send it back as `command`. */
  readonly command: string
  /** Its effective user id. */
  readonly uid?: number | undefined
  /** Identifies exactly this process. Send it back as `instance`. */
  readonly instance?: string | undefined
  /** When it started, in ISO 8601, correct to about a second. For people to read, not for sending back. */
  readonly startedAt?: string | undefined
}

/** What a signaller returns. */
export interface Outcome {
  readonly code: OutcomeCode
  /** Why there was no signal. Default: `gone` for ESRCH, `not permitted` for EPERM. */
  readonly reason?: SignallerReason | undefined
  /** The name of the process, for the record. Untrusted: a process names itself. */
  readonly command?: string | undefined
  /** The process that a dry run found. */
  readonly process?: ProcessSeen | undefined
}

/** What a signaller reports before it returns: it has sent the signal, or is about to send a request to a peer. */
export type Progress = Pick<Outcome, 'command'> & { readonly code: 'sent' | 'forwarded' }

/** What the app passes to a signaller with the PID. */
export interface Delivery {
  /** Signal the process only if its instance equals this one. */
  readonly instance?: string | undefined
  /** After the signal, wait up to this many milliseconds (0 to 60000) for the process to exit. */
  readonly waitMs?: number | undefined
  /** Check everything, but send no signal and do not wait. */
  readonly dryRun?: true | undefined
  /** Signal the process only if this is its name. Cut it to 15 bytes before you compare, as the kernel does. */
  readonly command?: string | undefined
  /** The client's comment, for records only. Pass it on to a peer. */
  readonly comment?: string | undefined
  /**
   * If one of these aborts, end the wait: the client has left, or the server stops. Then return `running`. Throw if you
   * do not know whether the signal was sent.
   */
  readonly stopWaiting: readonly AbortSignal[]
  /** Call this right after the signal, or right before the request to a peer. It makes the record. */
  readonly onSignal: (progress: Progress) => void
}

/**
 * Delivers SIGTERM to a process.
 *
 * Return expected outcomes. Throw unexpected errors: the app answers 500.
 *
 * @example
 * ```ts
 * import type { Signaller } from 'psys-kill'
 *
 * export const harmless: Signaller = { terminate: () => ({ code: 'EPERM' }) }
 * ```
 */
export interface Signaller {
  /** The conditions that `terminate` honours. A request with any other is answered 501. Default: none. */
  readonly supports?: readonly Condition[]

  /**
   * Sends SIGTERM, unless a condition is not met.
   *
   * @param pid - an integer from 1 to 2147483647; the app passes nothing else.
   */
  terminate(pid: number, delivery: Delivery): Outcome | Promise<Outcome>
}

/** The largest PID that a kill call takes: `pid_t` is a signed 32-bit integer. */
export const MAX_PID = 2 ** 31 - 1
