import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, expect, test } from 'vitest'
import { noNamespaces, startNamespace } from '../support/namespace.ts'
import { needsLinux } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { BUILT_FILE, type RunningServer, startServer } from '../support/server.ts'

beforeEach(needsLinux)

const SENT = '{"ok":true}'
const EXITED = '{"ok":true,"exited":true}'

/** The instance that a dry run tells. */
const instanceOf = async (pid: number, server: RunningServer): Promise<string> =>
  JSON.parse((await server.kill({ pid, dryRun: true })).text).process.instance

test('the instance of a process lets its kill through, however young it is: 1,000 times', async () => {
  await using server = await startServer()
  for (let i = 0; i < 1000; i++) {
    using target = startSleeper()
    const { pid } = target
    expect(await server.kill({ pid, instance: await instanceOf(pid, server) })).toMatchObject({ text: SENT })
    expect(await target.ended).toBe('SIGTERM')
  }
})

/** Nothing else in the namespace comes near it. */
const PID = 5000
const ROUNDS = 50

test('the instance never kills the new process, also if it starts while kills arrive', async ({ skip }) => {
  skip(noNamespaces !== undefined, noNamespaces)
  await using inside = await startNamespace()
  // Nothing else runs between its look at /proc and its signal: in this time the PID may pass on.
  const first = ['chrt', '--fifo', '1']
  await using server = await startServer({ command: [...inside.enter, ...first, process.execPath, BUILT_FILE] })
  using target = await inside.start({ pid: PID, successors: ROUNDS })
  const seen = new Set<string>()
  const answers = new Set<string>()
  for (let round = 1; round <= ROUNDS; round++) {
    // Processes that start within one tick of 10 ms have the same instance.
    await sleep(20)
    const instance = await instanceOf(PID, server)
    seen.add(instance)
    const hammer = async (waitMs?: number) => {
      let answer = ''
      while (answer !== 'other instance') {
        const { text, headers } = await server.kill({ pid: PID, instance, waitMs })
        answer = headers.get('psys-kill-reason') ?? text
        answers.add(answer)
      }
    }
    await Promise.all([hammer(60_000), hammer(), hammer()])
    await expect.poll(target.pids).toEqual(Array(round + 1).fill(PID))
  }
  expect(seen.size).toBe(ROUNDS)
  for (const answer of answers) expect(['zombie', 'gone', 'other instance', SENT, EXITED]).toContain(answer)
  expect(answers).toContain(EXITED)
  // Each of the others was killed once.
  expect(target.pids()).toHaveLength(ROUNDS + 1)
  expect(target.isAlive()).toBe(true)
})
