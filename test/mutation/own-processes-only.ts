import { readFileSync } from 'node:fs'

const kill = process.kill.bind(process)

/** Whether a process descends from this one, or has gone. */
const isOurs = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const parent = Number(stat.slice(stat.lastIndexOf(')')).split(' ')[2])
    return parent === process.pid || (parent > 1 && isOurs(parent))
  } catch {
    return true
  }
}

// A changed guard lets through what a test expects to be refused: PID 1, a parent, a whole process group.
process.kill = (pid, signal) => {
  if (signal !== 0 && !(Number.isInteger(pid) && pid > 1 && isOurs(pid)))
    throw new Error(`${pid} is none of the tests'`)
  return kill(pid, signal)
}
