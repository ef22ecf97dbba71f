import type { Conditions, Outcome } from '../../src/index.ts'

type Outcomes = () => Outcome | Promise<Outcome>

const sent: Outcomes = () => ({ code: 'sent' })

/** Signals nothing and remembers the PIDs. This is all that a signaller must be. */
export const recordingSignaller = (outcome = sent) => {
  const pids: number[] = []
  const terminate = (pid: number) => {
    pids.push(pid)
    return outcome()
  }
  return { pids, terminate }
}

/** The same for a signaller that can tell start times and exits; remembers the conditions too. */
export const conditionalSignaller = (outcome = sent) => {
  const calls: { pid: number; conditions: Conditions }[] = []
  const terminateWith = (pid: number, conditions: Conditions) => {
    calls.push({ pid, conditions })
    return outcome()
  }
  return { ...recordingSignaller(outcome), calls, terminateWith }
}
