import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { createApp } from '../../src/app/app.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { describeWith } from '../support/needs.ts'
import { post } from '../support/post.ts'
import { startDeaf } from '../support/processes.ts'

const WAITS = 10_000
const TARGETS = 200

/** Counts the timers that have not fired yet, and adds up how long they pause and how long what they call takes. */
const watchTimers = () => {
  const { setTimeout: set } = globalThis
  const timers = { now: 0, most: 0, fired: 0, pauseMs: 0, busyMs: 0 }
  const watched = vi.spyOn(globalThis, 'setTimeout').mockImplementation((fire, ms = 0) => {
    timers.most = Math.max(timers.most, ++timers.now)
    timers.pauseMs += ms
    return set(() => {
      timers.now--
      timers.fired++
      const start = performance.now()
      fire()
      timers.busyMs += performance.now() - start
    }, ms)
  })
  onTestFinished(() => watched.mockRestore())
  return timers
}

describeWith(['Linux'], `${WAITS} waits for the exits of ${TARGETS} processes`, () => {
  test('cost one timer, which pauses ten times as long as it works; each is answered, at a stop at the latest', async () => {
    const targets = await Promise.all(Array.from({ length: TARGETS }, startDeaf))
    onTestFinished(() => {
      for (const target of targets) target[Symbol.dispose]()
    })
    const timers = watchTimers()
    const stopping = new AbortController()
    const app = createApp({ signaller: nodeSignaller(), stopping: stopping.signal, maxWaits: WAITS })
    let answered = 0
    const waits = Array.from({ length: WAITS }, async (_, index) => {
      const response = await post(app, { pid: targets[index % TARGETS]?.pid, waitMs: 60_000 })
      answered++
      return response.text()
    })
    const half = <Value>(all: Value[], rest: 0 | 1) => all.filter((_, index) => index % 2 === rest)
    while (timers.fired < 3) await sleep(10)
    expect(answered).toBe(0)
    for (const { child } of half(targets, 0)) child.kill('SIGKILL')
    expect(new Set(await Promise.all(half(waits, 0)))).toEqual(new Set(['{"ok":true,"exited":true}']))
    expect(answered).toBe(WAITS / 2)
    stopping.abort()
    expect(new Set(await Promise.all(half(waits, 1)))).toEqual(new Set(['{"ok":true,"exited":false}']))
    console.log(`${WAITS} waits: ${JSON.stringify(timers)}`)
    expect(timers).toMatchObject({ now: 0, most: 1 })
    // The pauses are measured from within, without what other programs take.
    expect(timers.pauseMs).toBeGreaterThan(10 * timers.busyMs)
  })
})
