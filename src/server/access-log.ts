import type { Context, MiddlewareHandler } from 'hono'
import type {} from 'hono/request-id'
import { answers } from '../app/answers.ts'
import type { KillAttempt } from '../app/attempt.ts'
import type { Outcome, Progress } from '../app/signaller.ts'

/** What accessLog takes. */
export interface AccessLogOptions {
  /**
   * Gets one line of JSON, in ASCII and without the newline, for each record; `signalled` for those of a signal that
   * went out or may have, which are the last to be dropped. What it throws goes to `console.error`.
   */
  write: (line: string, signalled: boolean) => void
  /** Write only the requests that ended in an unexpected error. Default: false. */
  quiet?: boolean
  /** The address that the request came from, as the runtime tells it. Default: not recorded. */
  remoteAddress?: (c: Context) => string | undefined
}

const ID_HEADER = 'X-Request-Id'

/** Room for what a client sends: more than any PID needs, too little to fill a disk with. */
const MAX_LENGTH = 64
const MAX_REASON_LENGTH = 128
const MAX_STACK_LENGTH = 4096

const bounded = (pid: unknown) => {
  if (typeof pid === 'number' || pid === undefined) return pid
  return (typeof pid === 'string' ? pid : JSON.stringify(pid)).slice(0, MAX_LENGTH)
}

const textOf = (thrown: unknown) => {
  if (thrown instanceof Error) return thrown.stack ?? thrown.message
  return typeof thrown === 'object' ? 'An object that is no Error was thrown' : String(thrown)
}

const stackOf = (error: unknown) =>
  error instanceof Error && error.cause !== undefined
    ? `${textOf(error)}\nCaused by: ${textOf(error.cause)}`
    : textOf(error)

// Beside the control characters, which JSON escapes, some readers take U+0085 and U+2028 for the end of a line.
const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
// Asked first, as to replace nothing takes V8 as long as to replace.
const toAscii = (json: string) => (/[\u007f-\uffff]/.test(json) ? json.replace(/[\u007f-\uffff]/g, escaped) : json)

const SENT = answers.sent.status
const isSignal = (code: (Outcome | Progress)['code']) =>
  code === 'forwarded' || (code !== 'would send' && answers[code].status === SENT)

let lastMs = Number.NaN
let lastTime = ''
/** The time in ISO 8601: made once a millisecond, as that takes a fifth of what a record does. */
const now = () => {
  const ms = Date.now()
  if (ms !== lastMs) lastTime = new Date(ms).toISOString()
  lastMs = ms
  return lastTime
}

/**
 * Writes a record of every request, with the id of the request, which the response has as `X-Request-Id`.
 *
 * The id is a new one, whatever the client sends. Where your service has Hono's `requestId()`, in front of this or behind
 * it, the id is the one of that: `requestId({ headerName: 'X-Correlation-Id' })` takes it from a header that you trust.
 *
 * A signal is on record at the moment it goes out. Where the request then waits for an exit, or was forwarded, a second
 * record with the same id says how it ended. What is no kill has no outcome.
 *
 * @example
 * ```ts
 * const service = new Hono()
 *   .use(accessLog({ write: (line) => console.log(line) }))
 *   .route('/', createApp({ signaller: nodeSignaller() }))
 * ```
 */
export const accessLog =
  ({ write, quiet = false, remoteAddress }: AccessLogOptions): MiddlewareHandler =>
  async (c, next) => {
    const start = performance.now()
    const given = c.get('requestId') ?? crypto.randomUUID()
    // Now, as a client that leaves takes its address along.
    const remote = remoteAddress?.(c)
    c.set('requestId', given)
    c.header(ID_HEADER, given)
    let recorded: KillAttempt | undefined

    const record = (attempt: KillAttempt | undefined, status?: number) => {
      recorded = attempt
      const { pid, outcome, error, dryRun, comment } = attempt ?? {}
      if (quiet && error === undefined) return
      const reason = attempt?.reason ?? (outcome && 'reason' in outcome ? outcome.reason : undefined)
      const line = JSON.stringify({
        time: now(),
        // Now, as a requestId() behind this one has the last word.
        id: c.get('requestId'),
        remote,
        // What a proxy claims; anybody can. The end of it, where the nearest proxy writes.
        forwarded: (c.req.header('x-forwarded-for') ?? c.req.header('forwarded'))?.slice(-MAX_REASON_LENGTH),
        by: c.get('killCaller')?.slice(0, MAX_REASON_LENGTH),
        method: c.req.method,
        path: c.req.path.slice(0, MAX_LENGTH),
        pid: bounded(pid),
        command: outcome?.command,
        outcome: attempt && (outcome?.code ?? (error === undefined ? 'refused' : 'failed')),
        reason: reason?.slice(0, MAX_REASON_LENGTH),
        dryRun,
        comment,
        status,
        ms: Math.round((performance.now() - start) * 1000) / 1000,
        error: error === undefined ? undefined : stackOf(error).slice(0, MAX_STACK_LENGTH),
      })
      try {
        write(toAscii(line), error !== undefined || (outcome !== undefined && isSignal(outcome.code)))
      } catch (cause) {
        // The signal is out: no answer changes for want of a record.
        console.error(cause)
      }
    }

    c.set('killOnRecord', true)
    c.set('onKillSignal', (attempt) => record(attempt, attempt.outcome?.code === 'sent' ? SENT : undefined))
    await next()
    const id = c.get('requestId')
    if (id !== given && c.res.headers.get(ID_HEADER) === given) c.header(ID_HEADER, id)
    const attempt = c.get('killAttempt')
    const { status } = c.res
    const isRecorded = recorded?.outcome?.code === 'sent' && attempt?.outcome?.code === 'sent' && status === SENT
    if (!isRecorded) record(attempt, status)
  }
