import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { JSONValue } from 'hono/utils/types'
import type { Field, Outcome, OutcomeCode, ProcessSeen } from './signaller.ts'

/** The path of the endpoint, for middleware of your own. */
export const KILL_PATH = '/api/connections/kill'

// Each row keeps its own `send`, so that calling one out of a union still tells the client which body goes with which status.
const answer = <Status extends ContentfulStatusCode, const Body extends JSONValue>(
  status: Status,
  body: Body,
  headers?: Record<string, string>,
) => ({ status, body, send: (c: Context) => c.json(body, status, headers) })

// One type for all of them: so the client need not tell them apart to ask for a field.
type Done = { ok: true; exited?: boolean; dryRun?: true; process?: ProcessSeen | undefined }
const done = (body: Done) => answer<200, Done>(200, body)

/** The one table from what happened to what the client gets. */
export const answers = {
  sent: done({ ok: true }),
  exited: done({ ok: true, exited: true }),
  running: done({ ok: true, exited: false }),
  'would send': {
    ...done({ ok: true, dryRun: true }),
    send: (c: Context, { process }: Outcome) => done({ ok: true, dryRun: true, process }).send(c),
  },
  'bad pid': answer(400, { error: 'Invalid pid' }),
  'bad startedBefore': answer(400, { error: 'Invalid startedBefore' }),
  'bad waitMs': answer(400, { error: 'Invalid waitMs' }),
  'bad dryRun': answer(400, { error: 'Invalid dryRun' }),
  'bad command': answer(400, { error: 'Invalid command' }),
  'bad comment': answer(400, { error: 'Invalid comment' }),
  'unknown field': answer(400, { error: 'Unknown field' }),
  EPERM: answer(403, { error: 'Permission denied' }),
  ESRCH: answer(404, { error: 'Process not found' }),
  'bad method': answer(405, { error: 'Method Not Allowed' }, { Allow: 'POST' }),
  'too large': answer(413, { error: 'Payload Too Large' }),
  failed: answer(500, { error: 'Failed to kill process' }),
  'no startedBefore': answer(501, { error: 'startedBefore is not supported here' }),
  'no waitMs': answer(501, { error: 'waitMs is not supported here' }),
  'no dryRun': answer(501, { error: 'dryRun is not supported here' }),
  'no command': answer(501, { error: 'command is not supported here' }),
  'too many waits': answer(503, { error: 'Too many waits' }, { 'Retry-After': '1' }),
} satisfies Record<OutcomeCode | `bad ${Field}`, unknown> & Record<string, unknown>

/** What only a server answers, never the embedded app. */
export const serverAnswers = {
  unauthorized: answer(401, { error: 'Unauthorized' }, { 'WWW-Authenticate': 'Bearer' }),
  host: answer(403, { error: 'Host not allowed' }),
  proxy: answer(403, { error: 'Proxy not allowed' }),
  origin: answer(403, { error: 'Origin not allowed' }),
  path: answer(404, { error: 'Not Found' }),
}
