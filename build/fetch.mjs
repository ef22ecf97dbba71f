// What Headers, Request and Response are in the single file: those of the adapter, which are lighter than Node's.
export { LightRequest as Request, LightResponse as Response } from '@hono/node-server'
export { LazyHeaders as Headers } from './lazy-fetch.mjs'
