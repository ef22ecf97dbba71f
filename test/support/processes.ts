import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { runs } from './needs.ts'

/** Awaits a promise. After 20 seconds it throws, and says what it waited for and what the state is. */
export const inTime = <Value>(what: string, waiting: Promise<Value>, state: () => string) =>
  Promise.race([
    waiting,
    sleep(20_000, undefined, { ref: false }).then((): never => {
      throw new Error(`Waited 20 s for ${what}.\n${state()}`)
    }),
  ])

/** Collects the output of a stream from now on. */
export const heard = (stream: Readable, encoding: BufferEncoding = 'utf8') => {
  let text = ''
  stream.setEncoding(encoding).on('data', (chunk) => {
    text += chunk
  })
  /** Resolves with everything when the stream has ended. */
  const closed = new Promise<string>((resolve) => stream.once('close', () => resolve(text)))
  const search = async <Found>(find: () => Found | undefined) => {
    for (;;) {
      const found = find()
      if (found !== undefined) return found
      if (stream.closed) throw new Error(`Closed after ${JSON.stringify(text)}`)
      await Promise.race([once(stream, 'data'), closed])
    }
  }
  /** Resolves with what is found, now or later. Rejects when the stream has ended. */
  const when = <Found>(what: string, find: () => Found | undefined) =>
    inTime(what, search(find), () => `It said: ${text}`)
  /** Resolves with everything so far once it matches. */
  const until = (pattern: RegExp) => when(`${pattern}`, () => (pattern.test(text) ? text : undefined))
  return { text: () => text, closed, when, until }
}

/** A process for a test to kill. It is killed at the end of the scope at the latest. */
export type Target = ReturnType<typeof targetOf>

export const targetOf = (child: ChildProcess) => {
  const { pid } = child
  if (pid === undefined) throw new Error('The target does not run')
  const isAlive = () => child.exitCode === null && child.signalCode === null
  return {
    pid,
    child,
    /** Resolves with the signal that ended it; null if it exited by itself. */
    ended: once(child, 'exit').then(([, signal]): NodeJS.Signals | null => signal),
    isAlive,
    [Symbol.dispose]: () => void child.kill('SIGKILL'),
  }
}

/** Starts a command. Resolves when it has printed something. */
export const startCommand = async ([file = '', ...args]: readonly string[], options: SpawnOptions = {}) => {
  const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'inherit'] })
  const target = targetOf(child)
  return { ...target, said: await heard(child.stdout).until(/./) }
}

/** Starts Node with a script, after which it waits. */
export const startTarget = (script = '', options: { uid?: number; gid?: number } = {}): Promise<Target> =>
  startCommand([process.execPath, '-e', `${script};setInterval(() => {}, 1e6);process.stdout.write('up')`], options)

/**
 * A target that starts in a hundredth of the time: `sleep`, or whatever runs like it. (uv_spawn returns when the child
 * has executed the file, or failed to.)
 */
export const startSleeper = (options: { uid?: number; gid?: number } = {}, file = 'sleep') =>
  targetOf(spawn(file, ['600'], { ...options, stdio: 'ignore' }))

/** Starts a process that ignores SIGTERM. It inherits that from the shell. */
export const startDeaf = () => startCommand(['sh', '-c', 'trap "" TERM; echo up; exec sleep 600'])

/** The PID of a process that has just been reaped. */
export const reapedPid = () => spawnSync('true').pid

/** A field of /proc/PID/stat, numbered as in proc_pid_stat(5), of a process whose name is harmless. */
export const statField = (pid: number | string, field: number) =>
  readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/\(.*\)/s, '()')
    .split(' ')[field - 1]

/** Resolves when the process is a zombie, or its first thread is; there is no event for it. */
const untilZombie = async (pid: number) => {
  while (statField(pid, 3) !== 'Z') await sleep(2)
}

/** Starts a process that is a zombie: perl does not reap it. */
export const startZombie = async () => {
  const script = '$pid = fork; exec "sleep", "0" if $pid == 0; $| = 1; print $pid; sleep 600'
  const parent = await startCommand(['perl', '-e', script])
  const pid = Number(parent.said)
  await untilZombie(pid)
  return { pid, [Symbol.dispose]: parent[Symbol.dispose] }
}

const LEADER_EXITS = `import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
print('up', flush=True)
ctypes.CDLL(None).pthread_exit(None)`

/** Starts a process that runs on after its first thread has exited; undefined if that cannot be done here. */
export const startWithoutLeader = async () => {
  if (!runs('python3', '-c', 'import ctypes')) return undefined
  const target = await startCommand(['python3', '-c', LEADER_EXITS])
  await untilZombie(target.pid)
  return target
}

const startPerl = (script: string, ...args: readonly string[]) =>
  startCommand(['perl', '-e', `$| = 1; ${script}; print "up"; sleep 600`, ...args])

/** Starts a process that takes a name of its own choice (prctl(2), PR_SET_NAME). */
export const startNamed = (name: string) => startPerl('$0 = shift', name)

/** Starts a process with a real and an effective user id of its own, which only root can. */
export const startAs = (real: number, effective: number) => startPerl('($<, $>) = @ARGV', `${real}`, `${effective}`)
