import type { Context, MiddlewareHandler } from 'hono'
import type { AppOptions, Attempt } from '../app/app.ts'
import { setResponseHeader } from './response-header.ts'

/** What accessLog takes. */
export interface AccessLogOptions {
  /**
   * Gets one line of JSON, in ASCII and without the newline, for each request, and whether it is essential: a signal
   * went out, or may have. Others may be lost before it.
   */
  write: (line: string, essential: boolean) => void
  /** Write only the requests that ended in an unexpected error. Default: false. */
  quiet?: boolean
  /** The address that the request came from, as the runtime tells it. Default: not recorded. */
  remoteAddress?: (c: Context) => string | undefined
}

/** Room for what a client sends: more than any PID needs, too little to fill a disk with. */
const MAX_LENGTH = 64
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
const toAscii = (json: string) =>
  json.replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)

/**
 * Writes a record of every request, and gives the request an id, which the response has as `X-Request-Id`.
 *
 * Pass `logged` to createApp, so that the record has the PID, the outcome, the process's name and the error too.
 *
 * @example
 * ```ts
 * const service = new Hono()
 *   .use(accessLog({ write: (line) => console.log(line) }))
 *   .route('/', createApp({ signaller: nodeSignaller(), ...logged }))
 * ```
 */
export const accessLog =
  ({ write, quiet = false, remoteAddress }: AccessLogOptions): MiddlewareHandler =>
  async (c, next) => {
    const start = performance.now()
    const id = crypto.randomUUID()
    // Now, as a client that leaves takes its address along.
    const remote = remoteAddress?.(c)
    setResponseHeader(c, 'X-Request-Id', id)
    await next()
    const error: unknown = c.get('killError')
    if (quiet && error === undefined) return
    const attempt: Attempt | undefined = c.get('killAttempt')
    const { status } = c.res
    const record = {
      time: new Date().toISOString(),
      id,
      remote,
      method: c.req.method,
      path: c.req.path.slice(0, MAX_LENGTH),
      pid: bounded(attempt?.pid),
      command: attempt?.outcome?.command,
      outcome: attempt?.outcome?.code ?? (error === undefined ? 'refused' : 'failed'),
      status,
      ms: Math.round((performance.now() - start) * 1000) / 1000,
      error: error === undefined ? undefined : stackOf(error).slice(0, MAX_STACK_LENGTH),
    }
    write(toAscii(JSON.stringify(record)), /^(sent|exited|running|failed)$/.test(record.outcome))
  }

/** The hooks of createApp by which accessLog learns what happened. */
export const logged = {
  onAttempt: (attempt, c) => c.set('killAttempt', attempt),
  onError: (cause, c) => c.set('killError', cause ?? 'unknown'),
} satisfies Partial<AppOptions>
