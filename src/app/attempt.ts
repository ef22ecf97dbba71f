import type { Context } from 'hono'
import type { Outcome, Progress } from './signaller.ts'

/** What a request to the kill route came to, as far as it has come. */
export interface KillAttempt {
  /** The PID; as it came in and unchecked where the request was refused. */
  readonly pid?: unknown
  /** Whether a valid request asked for a dry run. */
  readonly dryRun?: true | undefined
  /** What a valid request says about itself. Untrusted. */
  readonly comment?: string | undefined
  /** What the signaller did or does; undefined where it was not asked, and where it threw. */
  readonly outcome?: Outcome | Progress | undefined
  /** Why the request was refused before a signaller was asked. */
  readonly reason?: string
  /** The cause of a 500. */
  readonly error?: unknown
}

declare module 'hono' {
  interface ContextVariableMap {
    /** What the request came to: set by the kill route and by the guards, undefined on every other route. */
    killAttempt?: KillAttempt
    /** Called at once when a signal goes out or is forwarded, long before the answer where a request waits for an exit. */
    onKillSignal?: (attempt: KillAttempt) => void
    /** Whether the cause of a 500 is recorded: set by accessLog. */
    killOnRecord?: boolean
    /** Who calls, for the record: the name of a token or of a certificate. Untrusted text. */
    killCaller?: string | undefined
  }
}

/** Answers with a row of the table, and notes the reason for the record. */
export const refuse = <Answer>(c: Context, row: { send(c: Context): Answer }, reason: string) => {
  c.set('killAttempt', { reason })
  return row.send(c)
}
