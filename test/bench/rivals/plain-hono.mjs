// Hono, its Node adapter and zod as their guides show them, without this project.
import { serve } from '@hono/node-server'
import { zValidator } from '@hono/zod-validator'
import { Hono } from 'hono'
import * as z from 'zod'

const body = z.object({ pid: z.int().min(1) })
const app = new Hono()
app.post(
  '/api/connections/kill',
  zValidator('json', body, (result, c) => {
    if (!result.success) return c.json({ error: 'Invalid pid' }, 400)
  }),
  (c) => {
    try {
      process.kill(c.req.valid('json').pid, 'SIGTERM')
      return c.json({ ok: true })
    } catch (error) {
      if (error.code === 'ESRCH') return c.json({ error: 'Process not found' }, 404)
      return c.json({ error: 'Permission denied' }, 403)
    }
  },
)
serve({ fetch: app.fetch, port: Number(process.env.PORT), hostname: '127.0.0.1' })
