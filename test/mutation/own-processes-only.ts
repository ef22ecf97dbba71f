import { readFileSync } from 'node:fs'

const kill = process.kill.bind(process)

/** The parent of a process; undefined where there is no such process. */
const parentOf = (pid: number) => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return Number(stat.slice(stat.lastIndexOf(')')).split(' ')[2])
  } catch {
    return undefined
  }
}

/** Whether a process descends from this one, or has gone. */
const isOurs = (pid: number): boolean => {
  const parent = parentOf(pid)
  return parent === undefined || parent === process.pid || (parent > 1 && isOurs(parent))
}

// A changed guard lets through what a test expects to be refused: PID 1, a parent, a whole process group.
process.kill = (pid, signal) => {
  if (signal !== 0 && !(Number.isInteger(pid) && pid > 1 && isOurs(pid)))
    throw new Error(`${pid} is none of the tests'`)
  return kill(pid, signal)
}
