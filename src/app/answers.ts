import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { JSONValue } from 'hono/utils/types'
import type { Condition, OutcomeCode } from './signaller.ts'

/** The path of the endpoint, for middleware of your own. */
export const KILL_PATH = '/api/connections/kill'

// Each row keeps its own `send`, so that calling one out of a union still tells the client which body goes with which status.
const answer = <Status extends ContentfulStatusCode, const Body extends JSONValue>(
  status: Status,
  body: Body,
  headers?: Record<string, string>,
) => ({ status, body, send: (c: Context) => c.json(body, status, headers) })

/** The one table from what happened to what the client gets. */
export const answers = {
  // TypeScript takes the next two bodies for cases of this one and folds them into it: so it must name their field.
  sent: answer<200, { readonly ok: true; readonly exited?: boolean }>(200, { ok: true }),
  exited: answer(200, { ok: true, exited: true }),
  running: answer(200, { ok: true, exited: false }),
  'bad pid': answer(400, { error: 'Invalid pid' }),
  'bad startedBefore': answer(400, { error: 'Invalid startedBefore' }),
  'bad waitMs': answer(400, { error: 'Invalid waitMs' }),
  'unknown field': answer(400, { error: 'Unknown field' }),
  EPERM: answer(403, { error: 'Permission denied' }),
  ESRCH: answer(404, { error: 'Process not found' }),
  'bad method': answer(405, { error: 'Method Not Allowed' }, { Allow: 'POST' }),
  'too large': answer(413, { error: 'Payload Too Large' }),
  failed: answer(500, { error: 'Failed to kill process' }),
  'no startedBefore': answer(501, { error: 'startedBefore is not supported here' }),
  'no waitMs': answer(501, { error: 'waitMs is not supported here' }),
  'too many waits': answer(503, { error: 'Too many waits' }, { 'Retry-After': '1' }),
} satisfies Record<OutcomeCode | `bad ${Condition}`, unknown> & Record<string, unknown>

/** What only a server answers, never the embedded app. */
export const serverAnswers = {
  unauthorized: answer(401, { error: 'Unauthorized' }, { 'WWW-Authenticate': 'Bearer' }),
  host: answer(403, { error: 'Host not allowed' }),
  origin: answer(403, { error: 'Origin not allowed' }),
  path: answer(404, { error: 'Not Found' }),
}
