import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

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

/** What something resolves to; throws after 20 seconds, and says for what it waited and how things stand. */
export const inTime = <Value>(what: string, waiting: Promise<Value>, state: () => string, seconds = 20) =>
  Promise.race([
    waiting,
    sleep(seconds * 1000, undefined, { ref: false }).then((): never => {
      throw new Error(`Waited ${seconds} s for ${what}.\n${state()}`)
    }),
  ])

/** A field of /proc/PID/stat, numbered as in proc_pid_stat(5), of a process whose name is harmless. */
export const statField = (pid: number | string, field: number) =>
  readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/\(.*\)/s, '()')
    .split(' ')[field - 1]

/** Resolves when the process is in this state, `Z` for a zombie; there is no event for it. */
const untilState = async (pid: number, state: string) => {
  while (statField(pid, 3) !== state) await sleep(2)
}

/** Resolves when the process has become this program. */
const untilNamed = async (pid: number | string | undefined, name: string) => {
  while (readFileSync(`/proc/${pid}/comm`, 'latin1') !== `${name}\n`) await sleep(2)
}

export interface Started extends Disposable {
  child: ChildProcess
  /** What it said first. */
  said: string
}

/** Starts a command and resolves with the first that it says. It is killed at the end of the scope at the latest. */
export const startCommand = async (command: readonly string[]): Promise<Started> => {
  const [file = '', ...args] = command
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const state = () => `It exited with ${child.exitCode ?? child.signalCode}`
  const [said] = await inTime(`the first word of ${command.join(' ')}`, once(child.stdout, 'data'), state)
  return {
    child,
    said: String(said).trim(),
    [Symbol.dispose]: () => {
      child.kill('SIGKILL')
    },
  }
}

/** A target that starts in a hundredth of the time: `sleep`, or whatever runs like it. */
export const startSleeper = (options: { uid?: number; gid?: number } = {}, file = 'sleep'): Target => {
  // uv_spawn returns when the child has executed the file, or failed to.
  return targetOf(spawn(file, ['600'], { ...options, stdio: 'ignore' }))
}

/** Starts a process that ignores SIGTERM: what the shell becomes ignores it too. */
export const startDeaf = async () =>
  targetOf((await startCommand(['sh', '-c', 'trap "" TERM; echo up; exec sleep 600'])).child)

/** Starts a process whose parent never reaps it: what the shell becomes knows of no child. */
const startUnreaped = async () => {
  const parent = await startCommand(['sh', '-c', 'sleep 600 & echo $!; exec sleep 600'])
  for (const pid of [parent.child.pid, parent.said]) await untilNamed(pid, 'sleep')
  return { ...parent, pid: Number(parent.said) }
}

/** Starts a process that is a zombie. */
export const startZombie = async () => {
  const zombie = await startUnreaped()
  process.kill(zombie.pid, 'SIGKILL')
  await untilState(zombie.pid, 'Z')
  return zombie
}

/** exit(2), unlike exit(3), ends the calling thread alone. */
const SYS_EXIT = process.arch === 'x64' ? 60 : 93
const LEADER_EXITS = [
  ['perl', '-e', `use threads; $|=1; threads->create(sub { sleep 1 while 1 }); print $$; syscall(${SYS_EXIT}, 0)`],
  [
    'python3',
    '-c',
    'import ctypes, os, threading, time; threading.Thread(target=time.sleep, args=(600,)).start();' +
      'print(os.getpid(), flush=True); ctypes.CDLL(None).pthread_exit(None)',
  ],
] as const
const CAN_THREAD = { perl: ['-Mthreads', '-e', '1'], python3: ['-c', 'import ctypes'] } as const

/** Starts a process that runs on after its first thread has exited; undefined where there is nothing to write it in. */
export const startWithoutLeader = async () => {
  const command = LEADER_EXITS.find(([file]) => spawnSync(file, CAN_THREAD[file]).status === 0)
  if (!command) return undefined
  const started = await startCommand(command)
  const pid = Number(started.said)
  await untilState(pid, 'Z')
  return { pid, ...started }
}

const startPerl = async (script: string, ...args: readonly string[]) =>
  targetOf((await startCommand(['perl', '-e', `$| = 1; ${script}; print "up"; sleep 600`, ...args])).child)

/** Starts a process that takes a name of its own choice (prctl(2), PR_SET_NAME). */
export const startNamed = (name: string) => startPerl('$0 = shift', name)

/** Starts a process with a real and an effective user id of its own, which only root can. */
export const startAs = (real: number, effective: number) => startPerl('($<, $>) = @ARGV', `${real}`, `${effective}`)
