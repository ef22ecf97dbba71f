// Fastify with what takes time when a server made of it starts: its logger and its schemas, here for this job.
import Fastify from 'fastify'
import { DIGITS, PATH } from './job.mjs'

const pid = { type: ['integer', 'string'], minimum: 1, pattern: DIGITS.source }
const schema = {
  body: { type: 'object', required: ['pid'], properties: { pid }, additionalProperties: false },
  response: {
    200: { type: 'object', properties: { ok: { type: 'boolean' } } },
    '4xx': { type: 'object', properties: { error: { type: 'string' } } },
  },
}

const app = Fastify({ logger: true })
app.post(PATH, { schema }, (_request, reply) => reply.send({ ok: true }))
app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
