import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { setResponseHeader } from '../../src/server/response-header.ts'

const app = new Hono().get('/', (c) => {
  setResponseHeader(c, 'X-Tried', 'yes')
  return c.text('ok')
})

test('a header goes to the response of Node where there is one, and makes no Headers object', async () => {
  const set: string[][] = []
  const outgoing = { setHeader: (...header: string[]) => set.push(header) }
  expect((await app.request('/', {}, { outgoing })).headers.has('x-tried')).toBe(false)
  expect(set).toEqual([['X-Tried', 'yes']])
})

test('elsewhere it goes to the response of the app', async () => {
  expect((await app.request('/')).headers.get('x-tried')).toBe('yes')
})
