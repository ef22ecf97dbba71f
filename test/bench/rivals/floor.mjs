// The adapter with one bare route: what no server made of Hono on Node can start faster than. The benchmark bundles it.
import { serve } from '@hono/node-server'
import { Hono } from 'hono'

const app = new Hono().post('/api/connections/kill', (c) => c.json({ ok: true }))
serve({ fetch: app.fetch, port: Number(process.env.PORT), hostname: '127.0.0.1' })
