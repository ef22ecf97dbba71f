import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Delivery, Outcome } from '../../src/app/signaller.ts'
import { emptyFolder } from './folder.ts'

/** What the process says first, and then does for each line: it ends when nobody writes to it any more. */
const PROGRAM = `
import { createInterface } from 'node:readline'
import { nodeSignaller } from './node-signaller.ts'
import { procWarning } from './proc.ts'

const options = JSON.parse(process.argv[2])
const { supports, terminate } = nodeSignaller(options)
const say = (value) => console.log(JSON.stringify(value))
say({ pid: process.pid, supports, warning: procWarning() })
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { pid, ...conditions } = JSON.parse(line)
  try {
    say(await terminate(pid, conditions))
  } catch (error) {
    say({ error: String(error) })
  }
})
`

export interface SignallerProcess extends Disposable {
  /** What it knows of itself. */
  pid: number
  supports: string[]
  warning?: string
  terminate: (pid: number, conditions?: Omit<Partial<Delivery>, 'stopWaiting' | 'onSignal'>) => Promise<Outcome>
  isAlive: () => boolean
}

/** Builds nodeSignaller into a file that every user can read. */
export const buildSignaller = async () => {
  const folder = emptyFolder()
  chmodSync(folder.path, 0o755)
  const path = folder.file('signaller.cjs')
  const resolveDir = fileURLToPath(new URL('../../src/node', import.meta.url))
  await build({ stdin: { contents: PROGRAM, resolveDir }, bundle: true, platform: 'node', outfile: path })
  /** Runs it as a process, by the command given before the file. */
  const start = async (
    command: readonly string[],
    protect: readonly (number | string)[] = [],
    onlyUids?: readonly number[],
  ): Promise<SignallerProcess> => {
    const [file = '', ...args] = [...command, path, JSON.stringify({ protect, onlyUids })]
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const said = async () => {
      const { value, done } = await lines.next()
      if (done) throw new Error(`${command.join(' ')} has ended`)
      return JSON.parse(value)
    }
    return {
      ...(await said()),
      terminate: (pid, conditions) => {
        child.stdin.write(`${JSON.stringify({ pid, ...conditions })}\n`)
        return said()
      },
      isAlive: () => child.exitCode === null && child.signalCode === null,
      [Symbol.dispose]: () => {
        child.kill('SIGKILL')
      },
    }
  }
  return { folder: folder.path, start, [Symbol.dispose]: folder[Symbol.dispose] }
}

/** Why a test in a PID namespace cannot run here; undefined where it can. */
export const noNamespaces = (() => {
  if (process.getuid?.() !== 0) return 'needs root, to make a PID namespace'
  const { status } = spawnSync('unshare', ['--pid', '--fork', '--mount-proc', 'true'])
  return status === 0 ? undefined : 'needs an unshare that can make a PID namespace'
})()

/** The one child of a process. */
const childOf = (pid: number | undefined) => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1'))

/**
 * Says each SIGTERM; so one that reaches PID 1 is seen, where without a handler the kernel drops it. It ends, and all in
 * the namespace with it, when the one who started it is gone.
 */
const INIT =
  "process.on('SIGTERM', () => console.log('SIGTERM')); process.stdin.resume().on('end', process.exit); console.log('up')"

export interface ProcessInside extends Disposable {
  /** Its PID in the namespace. */
  pid: number
  /** Its PID outside. */
  outerPid: number
  /** The PIDs of it and of the successors so far. */
  pids: () => number[]
  /** Resolves when the last one has gone and been reaped. */
  ended: Promise<unknown>
  isAlive: () => boolean
}

export interface Namespace extends AsyncDisposable {
  /** What precedes a command that is to run in it. */
  enter: readonly string[]
  /** Runs a shell command in it to its end and resolves with what it said. */
  run: (script: string) => string
  /**
   * Starts `run`, by default `sleep 600`, in it, through the command `as` and with the PID `pid` where they are given;
   * `successors` times, another one takes its place as soon as it is reaped.
   */
  start: (options?: {
    pid?: number
    as?: readonly string[]
    successors?: number
    run?: string
  }) => Promise<ProcessInside>
  /** What its PID 1 has said: `up`, and a line for each SIGTERM that it got. */
  initSaid: () => string
}

/** A PID and mount namespace; all that is in it dies at the end of the scope. */
export const startNamespace = async (options: readonly string[] = ['--mount-proc']): Promise<Namespace> => {
  const unshare = ['--pid', '--mount', '--fork', '--kill-child', ...options, process.execPath, '-e', INIT]
  const outer = spawn('unshare', unshare, { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(outer, 'exit')
  let said = ''
  outer.stdout.on('data', (chunk) => {
    said += chunk
  })
  await once(outer.stdout, 'data')
  const inTime = options.includes('--time') ? ['--time'] : []
  const enter = ['nsenter', '--target', String(childOf(outer.pid)), '--pid', '--mount', ...inTime, '--']
  const [file, ...args] = enter
  const run = (script: string) => {
    const { stdout, stderr, status } = spawnSync(String(file), [...args, 'sh', '-c', script], { encoding: 'utf8' })
    if (status !== 0) throw new Error(`${script}: ${stderr}`)
    return stdout.trim()
  }
  return {
    enter,
    run,
    initSaid: () => said,
    start: async ({ pid, as = [], successors = 0, run = 'sleep 600' } = {}) => {
      // The next PID is one higher than the last one.
      const choose = pid === undefined ? '' : `echo ${pid - 1} > /proc/sys/kernel/ns_last_pid;`
      const one = `${choose} ${as.join(' ')} sh -c 'echo $$; exec ${run}' & wait;`
      const shell = spawn(String(file), [...args, 'sh', '-c', one.repeat(successors + 1)], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const ended = once(shell, 'exit')
      let lines = ''
      shell.stdout.on('data', (chunk) => {
        lines += chunk
      })
      await once(shell.stdout, 'data')
      const pids = () => lines.trim().split('\n').map(Number)
      return {
        pid: pids()[0] ?? Number.NaN,
        outerPid: childOf(childOf(shell.pid)),
        pids,
        ended,
        isAlive: () => shell.exitCode === null && shell.signalCode === null,
        [Symbol.dispose]: () => {
          shell.kill('SIGKILL')
        },
      }
    },
    [Symbol.asyncDispose]: async () => {
      outer.kill('SIGKILL')
      await exited
    },
  }
}
