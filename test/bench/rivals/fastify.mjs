// Fastify doing the same job with its own parts: JSON schemas, hooks, pino, its id of a request, its limit of the body.
import { randomUUID } from 'node:crypto'
import Fastify from 'fastify'
import { stdTimeFunctions } from 'pino'
import { ANSWERS, HEADERS, MAX_BYTES, PATH, REASON_HEADER, refusalOf, terminate } from './job.mjs'

const pid = {
  anyOf: [
    { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER },
    { type: 'string', pattern: '^\\s*0*[1-9][0-9]*\\s*$' },
  ],
}
const schema = {
  body: { type: 'object', required: ['pid'], properties: { pid }, additionalProperties: false },
  response: {
    200: { type: 'object', properties: { ok: { type: 'boolean' } } },
    '4xx': { type: 'object', properties: { error: { type: 'string' } } },
  },
}

const app = Fastify({
  logger: { base: null, timestamp: stdTimeFunctions.isoTime },
  // Two lines a request; the hook below writes one.
  disableRequestLogging: true,
  requestIdLogLabel: 'id',
  genReqId: () => randomUUID(),
  bodyLimit: MAX_BYTES,
  ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
})
app.removeContentTypeParser('text/plain')
app.decorateRequest('attempt', null)

const refuse = (request, reply, status, error, reason) => {
  request.attempt = { pid: request.body?.pid, outcome: 'refused', reason }
  return reply.code(status).header(REASON_HEADER, reason).send({ error })
}

app.addHook('onRequest', (request, reply, done) => {
  reply.headers(HEADERS).header('X-Request-Id', request.id)
  const refusal = refusalOf(request.headers)
  if (refusal) refuse(request, reply, 403, refusal, refusal)
  else done()
})
app.addHook('onResponse', (request, reply, done) => {
  const { ip, method, url, attempt } = request
  request.log.info({ remote: ip, method, path: url, ...attempt, status: reply.statusCode, ms: reply.elapsedTime })
  done()
})
app.setErrorHandler((error, request, reply) => {
  if (error.statusCode === 413) return refuse(request, reply, 413, 'Payload Too Large', 'size')
  const isUnknown = error.validation?.[0].keyword === 'additionalProperties'
  return refuse(request, reply, 400, isUnknown ? 'Unknown field' : 'Invalid pid', error.code)
})
app.setNotFoundHandler((request, reply) => refuse(request, reply, 404, 'Not Found', 'path'))

app.post(PATH, { schema }, (request, reply) => {
  const pid = Number(request.body.pid)
  request.attempt = { pid, ...terminate(pid) }
  const [status, body] = ANSWERS[request.attempt.outcome]
  if (status !== 200) reply.header(REASON_HEADER, request.attempt.outcome)
  return reply.code(status).send(body)
})
app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
