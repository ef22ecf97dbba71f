import { openSync, readFileSync } from 'node:fs'
import { expect, vi } from 'vitest'
import type { Delivery, Outcome } from '../../src/app/signaller.ts'
import { type NodeSignallerOptions, nodeSignaller } from '../../src/node/index.ts'
import { emptyFolder } from './folder.ts'

/** The text of `/proc/PID/stat` for a process that started so many clock ticks later. */
export const startedLater = (stat: string, ticks: number) =>
  stat.replace(/^(\d+ \(.*\)(?: \S+){19} )(\d+)/s, (_, before, start) => `${before}${Number(start) + ticks}`)

/**
 * For some paths, the code under test reads this text, or fails with this code of a system error. The test file has to
 * `vi.mock('node:fs', { spy: true })`.
 */
export const fakeFiles = async (files: Readonly<Record<string, { text: string } | { error: string }>>) => {
  const actual = await vi.importActual<typeof import('node:fs')>('node:fs')
  const folder = emptyFolder()
  const redirect = (path: Parameters<typeof openSync>[0]) => {
    const file = files[String(path)]
    if (!file) return path
    if ('error' in file) throw Object.assign(new Error(file.error), { code: file.error })
    const instead = folder.file(String(path).replaceAll('/', '_'))
    actual.writeFileSync(instead, file.text)
    return instead
  }
  vi.mocked(openSync).mockImplementation((path, ...rest) => actual.openSync(redirect(path), ...rest))
  vi.mocked(readFileSync).mockImplementation((path, ...rest) =>
    actual.readFileSync(typeof path === 'string' ? redirect(path) : path, ...rest),
  )
  return {
    [Symbol.dispose]: () => {
      vi.mocked(openSync).mockReset()
      vi.mocked(readFileSync).mockReset()
      folder[Symbol.dispose]()
    },
  }
}

/** Makes this process look as if it ran on another system, until the end of the scope. */
export const pretendPlatform = (platform: NodeJS.Platform) => {
  const { platform: actual } = process
  const set = (value: NodeJS.Platform) => Object.defineProperty(process, 'platform', { value })
  set(platform)
  return { [Symbol.dispose]: () => void set(actual) }
}

/** What a request may ask for on every system. */
export const ASKED: Partial<Delivery>[] = [{}, { waitMs: 60_000 }, { dryRun: true }]

/** Expects this outcome at once for each kind of request, and no SIGTERM. A SIGTERM would not reach the process. */
export const expectNoSignal = (
  pid: number,
  outcome: Outcome,
  options: NodeSignallerOptions = {},
  conditions: Partial<Delivery> = {},
) => {
  const kill = process.kill.bind(process)
  const spy = vi.spyOn(process, 'kill').mockImplementation((pid, signal) => (signal === 0 ? kill(pid, 0) : true))
  const onSignal = vi.fn()
  const { terminate } = nodeSignaller(options)
  // A promise would not be equal.
  for (const asked of ASKED) expect(terminate(pid, { ...asked, ...conditions, onSignal })).toEqual(outcome)
  expect(spy.mock.calls.filter(([, signal]) => signal !== 0)).toEqual([])
  expect(onSignal).not.toHaveBeenCalled()
  spy.mockRestore()
}
