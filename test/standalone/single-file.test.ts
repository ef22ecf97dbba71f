import { expect, test } from 'vitest'
import { startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'

test('kills a real process and then no longer finds it', async () => {
  await using server = await startServer()
  using target = await startTarget()
  expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200, text: '{"ok":true}' })
  expect(await target.ended).toBe('SIGTERM')
  expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 404, text: '{"error":"Process not found"}' })
})
