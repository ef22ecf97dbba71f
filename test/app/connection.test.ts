import { EventEmitter } from 'node:events'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { closeSignal, endWaits } from '../../src/app/connection.ts'

const socketOf = (destroyed = false) => Object.assign(new EventEmitter(), { destroyed })
const over1 = (socket: object) => ({ httpVersionMajor: 1, socket })

/** The signal that a request gets, and a way for its client to leave. */
const ask = async (incoming?: object) => {
  const signals: AbortSignal[] = []
  const app = new Hono().get('/', (c) => {
    signals.push(closeSignal(c))
    return c.text('ok')
  })
  const client = new AbortController()
  await app.request('/', { signal: client.signal }, incoming && { incoming })
  const [signal = AbortSignal.abort('none')] = signals
  return { signal, leave: () => client.abort() }
}

test('over HTTP/1 on Node the requests of a socket share a signal, which aborts when the socket closes', async () => {
  const [one, two] = [socketOf(), socketOf()]
  const [first, second, other] = [await ask(over1(one)), await ask(over1(one)), await ask(over1(two))]
  expect(second.signal).toBe(first.signal)
  expect(one.listenerCount('close')).toBe(1)
  first.leave()
  expect(first.signal.aborted).toBe(false)
  one.emit('close')
  expect([first.signal.aborted, other.signal.aborted]).toEqual([true, false])
  expect((await ask(over1(socketOf(true)))).signal.aborted).toBe(true)
})

test('endWaits ends the waits of this connection, and those that are about to begin', async () => {
  const [one, two, idle] = [socketOf(), socketOf(), socketOf()]
  const [first, other] = [await ask(over1(one)), await ask(over1(two))]
  endWaits(one)
  endWaits(idle)
  expect([first.signal.aborted, other.signal.aborted]).toEqual([true, false])
  expect((await ask(over1(one))).signal.aborted).toBe(true)
  expect((await ask(over1(idle))).signal.aborted).toBe(true)
})

test.each([
  ['over HTTP/2, where one socket carries many requests', { httpVersionMajor: 2, socket: socketOf() }],
  ['without a socket', { httpVersionMajor: 1 }],
  ['on other runtimes', undefined],
])('%s, it is the signal of the request', async (_where, incoming) => {
  const { signal, leave } = await ask(incoming)
  expect(signal.aborted).toBe(false)
  leave()
  expect(signal.aborted).toBe(true)
})
