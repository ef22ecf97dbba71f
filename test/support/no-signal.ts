import { expect, vi } from 'vitest'
import type { Delivery, Outcome } from '../../src/app/signaller.ts'
import { type NodeSignallerOptions, nodeSignaller } from '../../src/node/index.ts'

/** What a request may ask for on every system. */
export const ASKED: Partial<Delivery>[] = [{}, { waitMs: 60_000 }, { dryRun: true }]

/** Expects this outcome at once, whatever else is asked, and no SIGTERM. If there is one, the process does not get it. */
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
