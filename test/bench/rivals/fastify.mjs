// Fastify as its guide shows it: the body checked by a JSON schema.
import Fastify from 'fastify'

const body = { type: 'object', required: ['pid'], properties: { pid: { type: 'integer', minimum: 1 } } }
const app = Fastify({ ajv: { customOptions: { coerceTypes: false } } })
app.setErrorHandler((_error, _request, reply) => reply.code(400).send({ error: 'Invalid pid' }))
app.post('/api/connections/kill', { schema: { body } }, (request, reply) => {
  try {
    process.kill(request.body.pid, 'SIGTERM')
    return reply.send({ ok: true })
  } catch (error) {
    if (error.code === 'ESRCH') return reply.code(404).send({ error: 'Process not found' })
    return reply.code(403).send({ error: 'Permission denied' })
  }
})
app.listen({ port: Number(process.env.PORT), host: '127.0.0.1' })
