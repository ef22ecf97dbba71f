import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { createApp } from '../../src/app/app.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { describeWith } from '../support/needs.ts'
import { post } from '../support/post.ts'
import { startDeaf } from '../support/processes.ts'

const WAITS = 10_000
const TARGETS = 200

afterEach(() => {
  vi.restoreAllMocks()
})

/** Counts the timers that have not fired yet, and adds up how long they pause and how long what they call takes. */
const watchTimers = () => {
  const { setTimeout: set } = globalThis
  const timers = { now: 0, most: 0, fired: 0, pauseMs: 0, busyMs: 0 }
  vi.spyOn(globalThis, 'setTimeout').mockImplementation((fire, ms = 0) => {
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
  return timers
}

describeWith(['Linux'], `${WAITS} waits for the exits of ${TARGETS} processes`, () => {
  /** Sends all requests, and resolves when all processes have got their signals. */
  const begin = async (waitMs: number) => {
    const targets = await Promise.all(Array.from({ length: TARGETS }, startDeaf))
    const stopping = new AbortController()
    const signal = vi.spyOn(process, 'kill')
    const app = createApp({ signaller: nodeSignaller(), stopping: stopping.signal, maxWaits: WAITS })
    const answers: { index: number; text: string }[] = []
    const all = Array.from({ length: WAITS }, async (_, i) => {
      const index = i % TARGETS
      const response = await post(app, { pid: targets[index]?.pid, waitMs })
      answers.push({ index, text: await response.text() })
    })
    const end = () => {
      for (const target of targets) target[Symbol.dispose]()
    }
    while (signal.mock.calls.length < WAITS) await sleep(10)
    return { targets, stopping, answers, all: Promise.all(all), [Symbol.dispose]: end }
  }

  test('cost one timer, which pauses twenty times as long as it works, and each gets its answer', async () => {
    const timers = watchTimers()
    using waits = await begin(20_000)
    expect(waits.answers).toEqual([])
    const isKilled = (index: number) => index % 2 === 0
    for (const { child } of waits.targets.filter((_, index) => isKilled(index))) child.kill('SIGKILL')
    await waits.all
    expect(waits.answers).toHaveLength(WAITS)
    const wrong = waits.answers.filter(({ index, text }) => text !== `{"ok":true,"exited":${isKilled(index)}}`)
    expect(wrong).toEqual([])
    console.log(`${WAITS} waits: ${JSON.stringify(timers)}`)
    expect(timers).toMatchObject({ now: 0, most: 1 })
    expect(timers.fired).toBeGreaterThan(2)
    // The pauses are measured from within, without what other programs take.
    expect(timers.pauseMs).toBeGreaterThan(10 * timers.busyMs)
  })

  test('end when the server stops', async () => {
    using waits = await begin(60_000)
    waits.stopping.abort()
    await waits.all
    expect(waits.answers.filter(({ text }) => text !== '{"ok":true,"exited":false}')).toEqual([])
    expect(waits.targets.every(({ isAlive }) => isAlive())).toBe(true)
  })
})
