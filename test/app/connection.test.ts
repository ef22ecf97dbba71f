import { EventEmitter } from 'node:events'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { closeSignal, endWaits } from '../../src/app/connection.ts'

const socketOf = (destroyed = false) => Object.assign(new EventEmitter(), { destroyed })
const over1 = (socket: object) => ({ httpVersionMajor: 1, socket })

let signal = AbortSignal.abort('none')
const app = new Hono().get('/', (c) => {
  signal = closeSignal(c)
  return c.text('ok')
})
/** The signal that a request of a client gets. */
const ask = async (incoming?: object, client = new AbortController()) => {
  await app.request('/', { signal: client.signal }, incoming && { incoming })
  return signal
}

test('over HTTP/1 on Node the requests of a socket share a signal, which aborts when the socket closes', async () => {
  const [one, client] = [socketOf(), new AbortController()]
  const [first, second, other] = [await ask(over1(one), client), await ask(over1(one)), await ask(over1(socketOf()))]
  expect(second).toBe(first)
  expect(one.listenerCount('close')).toBe(1)
  client.abort()
  expect(first.aborted).toBe(false)
  one.emit('close')
  expect([first.aborted, other.aborted]).toEqual([true, false])
  expect((await ask(over1(socketOf(true)))).aborted).toBe(true)
})

test('endWaits ends the waits of this connection, and those that are about to begin', async () => {
  const [one, idle] = [socketOf(), socketOf()]
  const [first, other] = [await ask(over1(one)), await ask(over1(socketOf()))]
  for (const socket of [one, idle]) endWaits(socket)
  expect([first.aborted, other.aborted]).toEqual([true, false])
  for (const socket of [one, idle]) expect((await ask(over1(socket))).aborted).toBe(true)
})

test.each([
  ['over HTTP/2, where one socket carries many requests', { httpVersionMajor: 2, socket: socketOf() }],
  ['without a socket', { httpVersionMajor: 1 }],
  ['on other runtimes', undefined],
])('%s, it is the signal of the request', async (_where, incoming) => {
  const client = new AbortController()
  const { aborted } = await ask(incoming, client)
  client.abort()
  expect([aborted, signal.aborted]).toEqual([false, true])
})
