import type { Context } from 'hono'
import type { Reason } from './contract.ts'
import type { Outcome, Progress } from './signaller.ts'

/** What happened to a request to the kill route so far. */
export interface KillAttempt {
  /** The PID. If the request was refused: as the client sent it, unchecked. */
  readonly pid?: unknown
  /** Whether a valid request asked for a dry run. */
  readonly dryRun?: true | undefined
  /** The comment of a valid request. Untrusted. */
  readonly comment?: string | undefined
  /** What the signaller did or is doing; undefined if the app did not call the signaller, or the signaller threw. */
  readonly outcome?: Outcome | Progress | undefined
  /** Why the request was refused before a signaller was called. */
  readonly reason?: Reason | undefined
  /** Which host, origin or field caused the refusal. Untrusted. */
  readonly detail?: string | undefined
  /** The cause of a 500. */
  readonly error?: unknown
}

declare module 'hono' {
  interface ContextVariableMap {
    /** What happened to the request. The kill route and the guards set it. On every other route it is undefined. */
    killAttempt?: KillAttempt
    /** Called as soon as a signal is sent or forwarded, which may be long before the answer. */
    onKillSignal?: (attempt: KillAttempt) => void
    /** Who calls, for the record: the name of a token or of a certificate. Untrusted text. */
    killCaller?: string | undefined
  }
}

/** Notes why a request is refused, for the record and for the answer. */
export const noteRefusal = (c: Context, refusal: Pick<KillAttempt, 'pid' | 'reason' | 'detail'>) => {
  c.set('killAttempt', refusal)
  return refusal
}

/** Answers with a row of a table of answers, and notes the reason. */
export const refuse = <Sent>(
  c: Context,
  row: { usualReason?: Reason | undefined; send(c: Context, specifics: { reason?: Reason | undefined }): Sent },
  { reason = row.usualReason, detail }: Pick<KillAttempt, 'reason' | 'detail'> = {},
) => row.send(c, noteRefusal(c, { reason, detail }))
