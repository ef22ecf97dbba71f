import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, test, vi } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { createApp } from '../../src/app/app.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { describeWith } from '../support/needs.ts'
import { startCommand } from '../support/processes.ts'

const WAITS = 10_000
const TARGETS = 200

afterEach(() => {
  vi.restoreAllMocks()
})

/** Counts the timers that are set and have not fired. */
const countTimers = () => {
  const { setTimeout: set } = globalThis
  const count = { now: 0, most: 0 }
  vi.spyOn(globalThis, 'setTimeout').mockImplementation((fire, ms) => {
    count.most = Math.max(count.most, ++count.now)
    return set(() => {
      count.now--
      fire()
    }, ms)
  })
  return count
}

/** Starts processes that ignore SIGTERM, so that the test decides when they exit. */
const startStubborn = async () => {
  const started = await Promise.all(
    Array.from({ length: TARGETS }, () => startCommand(['sh', '-c', 'trap "" TERM; echo up; exec sleep 600'])),
  )
  return {
    children: started.map(({ child }) => child),
    [Symbol.dispose]: () => {
      for (const target of started) target[Symbol.dispose]()
    },
  }
}

describeWith(['Linux'], `${WAITS} who wait for the exit of ${TARGETS} processes`, () => {
  /** Sends all the requests; answers come in as they are given. */
  const send = (pids: readonly (number | undefined)[], waitMs: number) => {
    const stopping = new AbortController()
    const signal = vi.spyOn(process, 'kill')
    const app = createApp({ signaller: nodeSignaller(), stopping: stopping.signal })
    const answers: { pid: number | undefined; text: string; at: number }[] = []
    const all = Array.from({ length: WAITS }, async (_, i) => {
      const pid = pids[i % pids.length]
      const response = await app.request(KILL_PATH, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ pid, waitMs }),
      })
      answers.push({ pid, text: await response.text(), at: performance.now() })
    })
    const waiting = async () => {
      while (signal.mock.calls.length < WAITS) await sleep(10)
    }
    return { stopping, answers, waiting: waiting(), all: Promise.all(all) }
  }

  test('cost one timer and a tenth of a core, and every one is answered right', async () => {
    using targets = await startStubborn()
    const timers = countTimers()
    const waitMs = 30_000
    const sent = performance.now()
    const { answers, waiting, all } = send(
      targets.children.map(({ pid }) => pid),
      waitMs,
    )
    await waiting
    const sendMs = performance.now() - sent
    await sleep(1000)

    const before = process.cpuUsage()
    const start = performance.now()
    await sleep(5000)
    const { user, system } = process.cpuUsage(before)
    const cpu = (user + system) / 10 / (performance.now() - start)
    expect(answers).toEqual([])

    const exiting = targets.children.filter((_, i) => i % 2 === 0)
    const exitingPids = new Set(exiting.map(({ pid }) => pid))
    const killed = performance.now()
    for (const child of exiting) child.kill('SIGKILL')
    while (answers.length < WAITS / 2) await sleep(5)
    const latencies = answers.map(({ at }) => at - killed).sort((a, b) => a - b)

    await all
    console.log(
      `${WAITS} waits: sent in ${sendMs.toFixed(0)} ms; ${cpu.toFixed(1)} % of a core while they wait; ` +
        `exit to answer ${latencies[WAITS / 4]?.toFixed(0)} ms at the median, ${latencies.at(-1)?.toFixed(0)} at most`,
    )
    expect(answers).toHaveLength(WAITS)
    const wrong = answers.filter(({ pid, text }) => text !== `{"ok":true,"exited":${exitingPids.has(pid)}}`)
    expect(wrong).toEqual([])
    expect(timers).toEqual({ now: 0, most: 1 })
    // The target is 10; a machine with other work to do measures more.
    expect(cpu).toBeLessThan(20)
  })

  test('are answered at once when the server stops', async () => {
    using targets = await startStubborn()
    const { stopping, answers, waiting, all } = send(
      targets.children.map(({ pid }) => pid),
      60_000,
    )
    await waiting
    await sleep(200)
    const aborted = performance.now()
    stopping.abort()
    await all
    const ms = performance.now() - aborted
    console.log(`${WAITS} waits: stop to last answer ${ms.toFixed(0)} ms`)
    expect(answers.filter(({ text }) => text !== '{"ok":true,"exited":false}')).toEqual([])
    expect(ms).toBeLessThan(10_000)
  })
})
