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

type AnyRow = { usualReason?: Reason | undefined; send(c: Context, attempt: KillAttempt): Response }

/** Refuses a request with a row of `answers` or `serverAnswers`, and sets `killAttempt`. */
export const refuse = <Row extends AnyRow>(
  c: Context,
  row: Row,
  { pid, reason = row.usualReason, detail }: Pick<KillAttempt, 'pid' | 'reason' | 'detail'> = {},
) => {
  const attempt = { pid, reason, detail }
  c.set('killAttempt', attempt)
  return row.send(c, attempt) as ReturnType<Row['send']>
}
