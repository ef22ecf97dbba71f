import { EventEmitter } from 'node:events'
import { Hono } from 'hono'
import { expect, test } from 'vitest'
import { closeSignal } from '../../src/app/connection.ts'

const socketOf = (destroyed = false) => Object.assign(new EventEmitter(), { destroyed })

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

test('over HTTP/1 on Node the signal aborts when the socket closes', async () => {
  const socket = socketOf()
  const { signal, leave } = await ask({ httpVersionMajor: 1, socket })
  leave()
  expect(signal.aborted).toBe(false)
  socket.emit('close')
  expect(signal.aborted).toBe(true)
})

test('the requests of one socket share a listener, and those of another have their own', async () => {
  const [one, two] = [socketOf(), socketOf()]
  const first = await ask({ httpVersionMajor: 1, socket: one })
  const second = await ask({ httpVersionMajor: 1, socket: one })
  const other = await ask({ httpVersionMajor: 1, socket: two })
  expect(second.signal).toBe(first.signal)
  expect(one.listenerCount('close')).toBe(1)
  one.emit('close')
  expect(first.signal.aborted).toBe(true)
  expect(other.signal.aborted).toBe(false)
})

test('of a socket that is gone already the signal is aborted', async () => {
  const { signal } = await ask({ httpVersionMajor: 1, socket: socketOf(true) })
  expect(signal.aborted).toBe(true)
})

test.each([
  ['over HTTP/2, where one socket carries many requests', { httpVersionMajor: 2, socket: socketOf() }],
  ['where there is no socket', { httpVersionMajor: 1 }],
  ['on other runtimes', undefined],
])('%s, it is the signal of the request', async (_where, incoming) => {
  const { signal, leave } = await ask(incoming)
  expect(signal.aborted).toBe(false)
  leave()
  expect(signal.aborted).toBe(true)
})
