// Hono doing the same job with its own middleware, zod and pino as their guides show them, without this project.
import { serve } from '@hono/node-server'
import { zValidator } from '@hono/zod-validator'
import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { requestId } from 'hono/request-id'
import { pino, stdTimeFunctions } from 'pino'
import * as z from 'zod'
import { ANSWERS, DIGITS, HEADERS, MAX_BYTES, PATH, REASON_HEADER, refusalOf, terminate } from './job.mjs'

const pid = z.int().min(1)
const schema = z.strictObject({ pid: z.union([pid, z.string().regex(DIGITS).transform(Number).pipe(pid)]) })
const log = pino({ base: null, timestamp: stdTimeFunctions.isoTime })

const refuse = (c, status, error, attempt) => {
  c.set('attempt', { outcome: 'refused', ...attempt })
  return c.json({ error }, status, { [REASON_HEADER]: attempt.reason })
}

const app = new Hono()
app.use(requestId())
app.use(async (c, next) => {
  const start = performance.now()
  const remote = c.env.incoming.socket.remoteAddress
  for (const [name, value] of Object.entries(HEADERS)) c.header(name, value)
  await next()
  const { method, path } = c.req
  const ms = performance.now() - start
  log.info({ id: c.get('requestId'), remote, method, path, ...c.get('attempt'), status: c.res.status, ms })
})
app.use(async (c, next) => {
  const refusal = refusalOf(c.env.incoming.headers)
  if (refusal) return refuse(c, 403, refusal, { reason: refusal })
  await next()
})
app.post(
  PATH,
  bodyLimit({ maxSize: MAX_BYTES, onError: (c) => refuse(c, 413, 'Payload Too Large', { reason: 'size' }) }),
  zValidator('json', schema, ({ success, error, data }, c) => {
    if (success) return
    const isUnknown = error.issues[0].code === 'unrecognized_keys'
    return refuse(c, 400, isUnknown ? 'Unknown field' : 'Invalid pid', { pid: Object(data).pid, reason: 'body' })
  }),
  (c) => {
    const { pid } = c.req.valid('json')
    const attempt = { pid, ...terminate(pid) }
    c.set('attempt', attempt)
    const [status, body] = ANSWERS[attempt.outcome]
    return c.json(body, status, status === 200 ? {} : { [REASON_HEADER]: attempt.outcome })
  },
)
app.notFound((c) => refuse(c, 404, 'Not Found', { reason: 'path' }))
app.onError((_error, c) => refuse(c, 400, 'Invalid pid', { reason: 'body' }))
serve({ fetch: app.fetch, port: Number(process.env.PORT), hostname: '127.0.0.1' })
