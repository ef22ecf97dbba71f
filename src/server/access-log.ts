import type { MiddlewareHandler } from 'hono'
import type { GetConnInfo } from 'hono/conninfo'
import type {} from 'hono/request-id'
import type { KillAttempt } from '../app/attempt.ts'
import { answers } from '../app/contract.ts'
import type { OutcomeCode } from '../app/signaller.ts'

/** The options of accessLog. */
export interface AccessLogOptions {
  /**
   * Gets one line of JSON for each record, in ASCII and without the newline. `signalled` is true if a signal was sent,
   * or may have been sent: drop those lines last. If `write` throws, the error goes to `console.error`.
   */
  write: (line: string, signalled: boolean) => void
  /** Write only the requests that ended in an unexpected error. Default: false. */
  quiet?: boolean
  /** Tells the address of the client: Hono's `getConnInfo` for your runtime. Default: not recorded. */
  getConnInfo?: GetConnInfo | undefined
}

/** How many characters of a PID, a path or a name to record: enough for any PID, too few to fill a disk. */
const MAX_LENGTH = 64
const MAX_DETAIL_LENGTH = 128
const MAX_STACK_LENGTH = 4096

const bounded = (pid: unknown) => {
  if (typeof pid === 'number' || pid === undefined) return pid
  return (typeof pid === 'string' ? pid : JSON.stringify(pid)).slice(0, MAX_LENGTH)
}

/** The stack of an error and of its cause, or what else was thrown. */
const textOf = (thrown: unknown, withCause = true): string => {
  if (!(thrown instanceof Error))
    return typeof thrown === 'object' ? 'Something other than an Error was thrown' : String(thrown)
  const text = thrown.stack ?? thrown.message
  return withCause && thrown.cause !== undefined ? `${text}\nCaused by: ${textOf(thrown.cause, false)}` : text
}

// Some readers take U+0085 and U+2028 for the end of a line, and JSON does not escape them.
const escaped = (char: string) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`
// Test first: `replace` is slow even without a match.
const toAscii = (json: string) => (/[\u007f-\uffff]/.test(json) ? json.replace(/[\u007f-\uffff]/g, escaped) : json)

const SENT_STATUS = answers.sent.status
/** The outcomes for which a signal was sent, or may have been sent. */
const SIGNALLED = new Set<OutcomeCode | 'forwarded' | undefined>(['forwarded', 'sent', 'exited', 'running'])

/**
 * Writes a record of every request. The response has the `id` of the record as `X-Request-Id`.
 *
 * The id is new for each request: it is never the client's. But if your service uses Hono's `requestId()` before this
 * middleware, the id is Hono's. To trust a header: `requestId({ headerName: 'X-Correlation-Id' })`.
 *
 * A signal is recorded as soon as it is sent or forwarded. If the answer comes later, a second record with the same id
 * tells how the request ended. A request to another route has no outcome.
 *
 * @example
 * ```ts
 * import { Hono } from 'hono'
 * import { createApp } from 'psys-kill'
 * import { nodeSignaller } from 'psys-kill/node'
 * import { accessLog } from 'psys-kill/server'
 *
 * export const service = new Hono()
 *   .use(accessLog({ write: (line) => console.log(line) }))
 *   .route('/', createApp({ signaller: nodeSignaller() }))
 * ```
 */
export const accessLog =
  ({ write, quiet = false, getConnInfo }: AccessLogOptions): MiddlewareHandler =>
  async (c, next) => {
    const start = performance.now()
    const id = c.get('requestId') ?? crypto.randomUUID()
    // Read it now: when the client has left, its address is gone.
    const remote = getConnInfo?.(c).remote.address
    c.set('requestId', id)
    c.header('X-Request-Id', id)
    let recorded: KillAttempt | undefined

    const record = (attempt: KillAttempt | undefined, status?: number) => {
      recorded = attempt
      const { pid, outcome, error, dryRun, comment } = attempt ?? {}
      if (quiet && error === undefined) return
      const row = outcome && outcome.code !== 'forwarded' ? answers[outcome.code] : undefined
      const signallerReason = outcome && 'reason' in outcome ? outcome.reason : undefined
      const line = JSON.stringify({
        time: new Date().toISOString(),
        id,
        remote,
        // Unverified: any client can send this header. Its end comes from the nearest proxy.
        forwarded: (c.req.header('x-forwarded-for') ?? c.req.header('forwarded'))?.slice(-MAX_DETAIL_LENGTH),
        by: c.get('killCaller')?.slice(0, MAX_DETAIL_LENGTH),
        method: c.req.method,
        path: c.req.path.slice(0, MAX_LENGTH),
        pid: bounded(pid),
        command: outcome?.command?.slice(0, MAX_LENGTH),
        outcome: attempt && (outcome?.code ?? (error === undefined ? 'refused' : 'failed')),
        reason: attempt?.reason ?? signallerReason ?? row?.usualReason,
        detail: attempt?.detail?.slice(0, MAX_DETAIL_LENGTH),
        dryRun,
        comment,
        status,
        ms: Math.round((performance.now() - start) * 1000) / 1000,
        error: error === undefined ? undefined : textOf(error).slice(0, MAX_STACK_LENGTH),
      })
      try {
        write(toAscii(line), error !== undefined || SIGNALLED.has(outcome?.code))
      } catch (cause) {
        // The answer stays the same: the signal is already out.
        console.error(cause)
      }
    }

    c.set('onKillSignal', (attempt) => record(attempt, attempt.outcome?.code === 'sent' ? SENT_STATUS : undefined))
    await next()
    const attempt = c.get('killAttempt')
    const { status } = c.res
    const isRecorded = recorded?.outcome?.code === 'sent' && attempt?.outcome?.code === 'sent' && status === SENT_STATUS
    if (!isRecorded) record(attempt, status)
  }
