import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'

const children = new Set()
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
})

/** Starts a process that does not outlive this one. */
export const startChild = (file, args, options) => {
  const child = spawn(file, args, options)
  children.add(child)
  return child
}

export const stopChild = async (child) => {
  children.delete(child)
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

const [, LAST_CORE] = readFileSync('/proc/self/status', 'latin1').match(/^Cpus_allowed_list:.*?(\d+)$/m)

/** The command that runs another one on one core: there a server that shares it with its clients takes a steady time. */
export const pinned = (file, args) => ['taskset', ['-c', LAST_CORE, file, ...args]]

/** A process for which the kernel itself drops SIGTERM, so that to be signalled costs it nothing. */
export const startSurvivor = async () => {
  const child = startChild('sh', ['-c', 'trap "" TERM; echo; exec sleep 3600'])
  await once(child.stdout, 'data')
  return child
}
