import type { Context } from 'hono'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import { FIELDS, type Field, type OutcomeCode, type ProcessSeen, SIGNALLER_REASONS } from './signaller.ts'

/** The path of the endpoint, for middleware of your own. */
export const KILL_PATH = '/api/connections/kill'

/** The header that tells the caller why there was no signal. */
export const REASON_HEADER = 'Psys-Kill-Reason'

const OF_THE_BODY = ['pid', ...FIELDS, 'unknown field', 'content-type', 'body', 'size'] as const
const OF_THE_REQUEST = ['method', 'path', 'host', 'proxy', 'origin', 'cross-site'] as const
const OF_THE_CALLER = ['token missing', 'token unknown', 'certificate'] as const
/** All values of the header `Psys-Kill-Reason`. */
export const REASONS = [...SIGNALLER_REASONS, ...OF_THE_BODY, ...OF_THE_REQUEST, ...OF_THE_CALLER] as const
export type Reason = (typeof REASONS)[number]

/** The parts of an answer that depend on the request. */
type Specifics = { reason?: Reason | undefined; process?: ProcessSeen | undefined }

// Each row has its own `send`, so that the typed client knows which body goes with which status.
const answer = <Status extends ContentfulStatusCode, const Body extends object>(
  status: Status,
  body: Body,
  usualReason?: Reason,
  headers?: Record<string, string>,
) => ({
  status,
  body,
  usualReason,
  send: (c: Context, { reason = usualReason }: Specifics = {}) =>
    c.json(body, status, reason ? { [REASON_HEADER]: reason, ...headers } : headers),
})

// All 200s share this type, so that the client can read `exited` or `process` without narrowing first.
type Done = { ok: true; exited?: boolean; dryRun?: true; process?: ProcessSeen | undefined }
const done = (body: Done) => ({
  ...answer<200, Done>(200, body),
  send: (c: Context, { process }: Specifics = {}) => c.json(process ? { ...body, process } : body, 200),
})

/** The table that turns each outcome into its answer. */
export const answers = {
  sent: done({ ok: true }),
  exited: done({ ok: true, exited: true }),
  running: done({ ok: true, exited: false }),
  'would send': done({ ok: true, dryRun: true }),
  'bad pid': answer(400, { error: 'Invalid pid' }, 'pid'),
  'bad instance': answer(400, { error: 'Invalid instance' }, 'instance'),
  'bad waitMs': answer(400, { error: 'Invalid waitMs' }, 'waitMs'),
  'bad dryRun': answer(400, { error: 'Invalid dryRun' }, 'dryRun'),
  'bad command': answer(400, { error: 'Invalid command' }, 'command'),
  'bad comment': answer(400, { error: 'Invalid comment' }, 'comment'),
  'unknown field': answer(400, { error: 'Unknown field' }, 'unknown field'),
  EPERM: answer(403, { error: 'Permission denied' }, 'not permitted'),
  ESRCH: answer(404, { error: 'Process not found' }, 'gone'),
  'bad method': answer(405, { error: 'Method Not Allowed' }, 'method', { Allow: 'POST' }),
  'too large': answer(413, { error: 'Payload Too Large' }, 'size'),
  failed: answer(500, { error: 'Failed to kill process' }),
  'no instance': answer(501, { error: 'instance is not supported here' }, 'not supported'),
  'no waitMs': answer(501, { error: 'waitMs is not supported here' }, 'not supported'),
  'no dryRun': answer(501, { error: 'dryRun is not supported here' }, 'not supported'),
  'no command': answer(501, { error: 'command is not supported here' }, 'not supported'),
  'too many waits': answer(503, { error: 'Too many waits' }, 'too many waits', { 'Retry-After': '1' }),
} satisfies Record<OutcomeCode | `bad ${Field}`, unknown> & Record<string, unknown>

/** The answers of the guards and of createServerApp. createApp never gives them. */
export const serverAnswers = {
  unauthorized: answer(401, { error: 'Unauthorized' }, 'token missing', { 'WWW-Authenticate': 'Bearer' }),
  host: answer(403, { error: 'Host not allowed' }, 'host'),
  proxy: answer(403, { error: 'Proxy not allowed' }, 'proxy'),
  origin: answer(403, { error: 'Origin not allowed' }, 'origin'),
  path: answer(404, { error: 'Not Found' }, 'path'),
}
