import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { inTime } from './in-time.ts'

export interface Target extends Disposable {
  pid: number
  child: ChildProcess
  /** Resolves with the signal that ended it, or null where it exited by itself. */
  ended: Promise<NodeJS.Signals | null>
  isAlive: () => boolean
}

/** The target that a child is; throws where it does not run. */
export const targetOf = (child: ChildProcess): Target => {
  const ended = once(child, 'exit').then(([, signal]) => signal)
  if (child.pid === undefined) throw new Error('The target does not run')
  const isAlive = () => child.exitCode === null && child.signalCode === null
  return {
    pid: child.pid,
    child,
    ended,
    isAlive,
    [Symbol.dispose]: () => {
      if (isAlive()) child.kill('SIGKILL')
    },
  }
}

/** Starts a process for a test to kill and resolves when it runs. It is killed at the end of the scope at the latest. */
export const startTarget = async (script = '', options: { uid?: number; gid?: number } = {}): Promise<Target> => {
  const child = spawn(process.execPath, ['-e', `${script};setInterval(() => {}, 1e6);process.stdout.write('up')`], {
    ...options,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const target = targetOf(child)
  await inTime(`a target to run: ${script}`, once(child.stdout, 'data'), () => `Alive: ${target.isAlive()}`)
  return target
}

/** A PID that was a process's a moment ago and that has been reaped. */
export const reapedPid = async () => {
  const child = spawn(process.execPath, ['--version'], { stdio: 'ignore' })
  await once(child, 'exit')
  if (child.pid === undefined) throw new Error('The target has no PID')
  return child.pid
}
