// A Hono service that embeds the app, as in the README.
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { createApp } from '../../build/dist/lib/index.js'
import { nodeSignaller } from '../../build/dist/lib/node/index.js'

const service = new Hono().get('/', (c) => c.text('my own page'))
service.route('/', createApp({ signaller: nodeSignaller() }))
const options = { fetch: service.fetch, hostname: '127.0.0.1', port: 0 }
serve(options, ({ port }) => console.log(`http://127.0.0.1:${port} is up`))
