import { CONDITIONS, type Delivery, type Outcome } from '../../src/app/signaller.ts'

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

/** The same for a signaller that supports every condition; of a request with conditions it remembers all. */
export const conditionalSignaller = (outcome = sent) => {
  const plain = recordingSignaller(outcome)
  const calls: { pid: number; delivery: Delivery }[] = []
  const terminate = (pid: number, delivery: Delivery) => {
    if (CONDITIONS.every((name) => delivery[name] === undefined)) return plain.terminate(pid)
    calls.push({ pid, delivery })
    return outcome()
  }
  return { pids: plain.pids, calls, supports: CONDITIONS, terminate }
}
