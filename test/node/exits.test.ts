import { getEventListeners } from 'node:events'
import { readFileSync } from 'node:fs'
import { afterEach, expect, test, vi } from 'vitest'
import { exitWatch } from '../../src/node/exits.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { fakeFiles, startedLater } from '../support/fakes.ts'
import { needsLinux } from '../support/needs.ts'
import { startDeaf } from '../support/processes.ts'

vi.mock('node:fs', { spy: true })

/** What /proc says of a process, given its true stat. */
type Seen = (stat: string) => { text: string } | { error: string }

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** Waits in a time that passes only when a timer fires, and when a process is looked up: `costMs` each. */
const startWatch = (costMs = 0) => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'performance'] })
  const looked: number[] = []
  const exited = new Set<number>()
  const answered: Record<number, boolean> = {}
  const wait = exitWatch()
  const now = performance.now.bind(performance)
  vi.spyOn(performance, 'now').mockImplementation(() => now() + looked.length * costMs)
  return {
    looked,
    exited,
    answered,
    begin: (pid: number, waitMs = 60_000, stopWaiting: readonly AbortSignal[] = []) => {
      const hasExited = () => looked.push(pid) > 0 && exited.has(pid)
      void wait(hasExited, waitMs, stopWaiting).then((code) => Object.assign(answered, { [pid]: code === 'exited' }))
    },
    /** Lets the timer fire, which must be the only one. Returns the pause before. */
    fire: async () => {
      expect(vi.getTimerCount()).toBe(1)
      const start = now()
      await vi.advanceTimersToNextTimerAsync()
      return Math.round(now() - start)
    },
  }
}

test.each([
  [1, 1 / 8, 20],
  [256, 1 / 512, 20],
  [256, 1 / 8, 800],
  [8192, 1 / 128, 1600],
])('the timer is one for %i waits; if a look takes %f ms, it pauses for %i ms', async (count, costMs, pause) => {
  const { begin, fire, looked, exited, answered } = startWatch(costMs)
  for (let pid = 1; pid <= count; pid++) begin(pid)
  expect([await fire(), await fire(), await fire()]).toEqual([20, pause, pause])
  expect(looked).toHaveLength(3 * count)
  for (const pid of looked) exited.add(pid)
  await fire()
  expect(Object.values(answered)).toEqual(Array(count).fill(true))
  // Nobody waits, and then somebody does.
  expect(vi.getTimerCount()).toBe(0)
  begin(0)
  expect(await fire()).toBe(20)
})

test('the timer ends each wait at its deadline, not before, after a last look', async () => {
  const { begin, fire, exited, answered } = startWatch()
  begin(1, 5)
  begin(2, 30)
  begin(3, 5)
  exited.add(3)
  expect(await fire()).toBe(5)
  expect(answered).toEqual({ 1: false, 3: true })
  await fire()
  expect(answered).toEqual({ 1: false, 3: true })
  await fire()
  expect(answered).toEqual({ 1: false, 2: false, 3: true })
  begin(4, 0)
  expect(await fire()).toBe(0)
  expect(answered).toMatchObject({ 4: false })
})

test('the timer ends a wait in the sweep after one of its signals aborts, and leaves no listener', async () => {
  const { begin, fire, exited, answered } = startWatch()
  const [one, two, other] = [new AbortController(), new AbortController(), new AbortController()]
  begin(1, 60_000, [one.signal, two.signal])
  begin(2, 60_000, [other.signal])
  begin(3, 60_000, [AbortSignal.abort()])
  begin(4, 60_000, [two.signal])
  await fire()
  expect(answered).toEqual({ 3: false })
  expect([one, two, other].flatMap(({ signal }) => getEventListeners(signal, 'abort'))).toEqual([])
  two.abort()
  exited.add(4)
  expect(await fire()).toBe(20)
  // A process that has exited has exited.
  expect(answered).toEqual({ 1: false, 3: false, 4: true })
  expect(vi.getTimerCount()).toBe(1)
})

const HIDDEN: Seen = () => ({ error: 'EACCES' })
const UNREADABLE: Seen = () => ({ error: 'EMFILE' })
const AS_IT_IS: Seen = (text) => ({ text })
const OTHER: Seen = (stat) => ({ text: startedLater(stat, 1) })
const ZOMBIE: Seen = (stat) => ({ text: stat.replace(/\) \S/, ') Z') })

test.for<[string, Seen, Seen, 'exited' | 'running', fate?: 'dies' | 'changes its user']>([
  ['that lives runs, when nobody waits any more', AS_IT_IS, AS_IT_IS, 'running'],
  ['whose PID another process has, has exited', AS_IT_IS, OTHER, 'exited'],
  ['that becomes a zombie has exited', AS_IT_IS, ZOMBIE, 'exited'],
  ['that becomes hidden runs until kill(2) says that it is gone', AS_IT_IS, HIDDEN, 'running'],
  ['that becomes hidden has exited when kill(2) says that it is gone', AS_IT_IS, HIDDEN, 'exited', 'dies'],
  ["that becomes hidden and another user's runs", AS_IT_IS, HIDDEN, 'running', 'changes its user'],
  ['that cannot be looked up for the moment is not known to have exited', AS_IT_IS, UNREADABLE, 'running'],
  ['that was hidden before runs, whatever its start', HIDDEN, OTHER, 'running'],
])('waitMs of a process %s', async ([, before, later, code, fate], context) => {
  needsLinux(context)
  using deaf = await startDeaf()
  const path = `/proc/${deaf.pid}/stat`
  const stat = readFileSync(path, 'utf8')
  const files = { [path]: before(stat) }
  using _ = await fakeFiles(files)
  const stopWaiting = code === 'running' ? [AbortSignal.abort()] : []
  const outcome = nodeSignaller().terminate(deaf.pid, { waitMs: 60_000, stopWaiting })
  files[path] = later(stat)
  if (fate === 'dies') deaf.child.kill('SIGKILL')
  if (fate === 'changes its user')
    vi.spyOn(process, 'kill').mockImplementation(() => {
      throw Object.assign(new Error(fate), { code: 'EPERM' })
    })
  expect(await outcome).toMatchObject({ code })
  expect(deaf.isAlive()).toBe(fate !== 'dies')
})
