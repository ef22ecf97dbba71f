import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import type { Delivery, Outcome } from '../../src/app/signaller.ts'
import { emptyFolder } from './folder.ts'
import { runs } from './needs.ts'
import { heard, targetOf } from './processes.ts'

/** Prints what it supports, then answers one request for each line. It ends when its input closes. */
const PROGRAM = `
import { createInterface } from 'node:readline'
import { nodeSignaller } from './node-signaller.ts'

const { supports, terminate } = nodeSignaller(JSON.parse(process.argv[2]))
const say = (value) => console.log(JSON.stringify(value))
say({ pid: process.pid, supports })
createInterface({ input: process.stdin }).on('line', async (line) => {
  const { pid, ...conditions } = JSON.parse(line)
  say(await terminate(pid, conditions))
})
`

/** The command that starts this Node without access to any file but one, and so without /proc. */
export const withoutProc = (file: string) => {
  const flags = ['--permission', '--experimental-permission', '--allow-net']
  const known = flags.filter((flag) => process.allowedNodeEnvironmentFlags.has(flag))
  return [process.execPath, '--no-warnings', ...known, `--allow-fs-read=${file}`]
}

type Conditions = Omit<Partial<Delivery>, 'stopWaiting' | 'onSignal'>

export type SignallerProcess = Awaited<ReturnType<Awaited<ReturnType<typeof buildSignaller>>['start']>>

/** Builds nodeSignaller into a file that every user can read. */
export const buildSignaller = async () => {
  const folder = emptyFolder()
  chmodSync(folder.path, 0o755)
  const path = folder.file('signaller.cjs')
  const resolveDir = fileURLToPath(new URL('../../src/node', import.meta.url))
  await build({ stdin: { contents: PROGRAM, resolveDir }, bundle: true, platform: 'node', outfile: path })
  /** Runs it as a process, by the command given before the file. */
  const start = async (command: readonly string[], protect: readonly number[] = []) => {
    const [file = '', ...args] = [...command, path, JSON.stringify({ protect })]
    const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const said = async () => {
      const { value, done } = await lines.next()
      if (done) throw new Error(`${command.join(' ')} has ended`)
      return JSON.parse(value)
    }
    /** What it knows of itself. */
    const known: { pid: number; supports: string[] } = await said()
    return {
      ...targetOf(child),
      ...known,
      terminate: (pid: number, conditions: Conditions = {}): Promise<Outcome> => {
        child.stdin.write(`${JSON.stringify({ pid, ...conditions })}\n`)
        return said()
      },
    }
  }
  return { path, start, [Symbol.dispose]: folder[Symbol.dispose] }
}

/** Why a test in a PID namespace cannot run here; undefined if it can. */
export const noNamespaces = (() => {
  if (process.getuid?.() !== 0) return 'needs root, to make a PID namespace'
  const works = runs('unshare', '--pid', '--fork', '--mount-proc', 'true')
  return works ? undefined : 'needs an unshare that can make a PID namespace'
})()

/** The one child of a process. */
const childOf = (pid: number | undefined) => Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1'))

/**
 * Prints each SIGTERM. (Without a handler, the kernel drops a SIGTERM to PID 1.) When its parent is gone it ends, and
 * with it all processes of the namespace.
 */
const INIT =
  "process.on('SIGTERM', () => console.log('SIGTERM')); process.stdin.resume().on('end', process.exit); console.log('up')"

/** A PID and mount namespace. All its processes are killed at the end of the scope. */
export const startNamespace = async (options: readonly string[] = ['--mount-proc']) => {
  const unshare = ['--pid', '--mount', '--fork', '--kill-child', ...options, process.execPath, '-e', INIT]
  const outer = spawn('unshare', unshare, { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(outer, 'exit')
  const init = heard(outer.stdout)
  await init.until(/up/)
  const inTime = options.includes('--time') ? ['--time'] : []
  /** The command before a command, to run it in the namespace. */
  const enter = ['nsenter', '--target', String(childOf(outer.pid)), '--pid', '--mount', ...inTime, '--']
  const [file = '', ...args] = [...enter, 'sh', '-c']
  return {
    enter,
    /** Runs a shell command in it to its end, and returns what it printed. */
    run: (script: string) => execFileSync(file, [...args, script], { encoding: 'utf8' }).trim(),
    /** What its PID 1 has printed: `up`, and a line for each SIGTERM. */
    initSaid: init.text,
    /**
     * Starts `run` in it, through the command `as`, and as the PID `pid` if that is not 0. Another one takes its place as
     * soon as it is reaped, `successors` times.
     */
    start: async ({ pid = 0, as = [] as string[], successors = 0, run = 'sleep 600' } = {}) => {
      // The next PID is one higher than the last one.
      const choose = pid === 0 ? '' : `echo ${pid - 1} > /proc/sys/kernel/ns_last_pid;`
      const one = `${choose} ${as.join(' ')} sh -c 'echo $$; exec ${run}' & wait;`
      const shell = spawn(file, [...args, one.repeat(successors + 1)], { stdio: ['ignore', 'pipe', 'inherit'] })
      const { text, until } = heard(shell.stdout)
      /** The PIDs of it and of the successors so far. */
      const pids = () => text().trim().split('\n').map(Number)
      await until(/\n/)
      return {
        ...targetOf(shell),
        /** Its PID in the namespace. */
        pid: pids()[0] ?? Number.NaN,
        /** Its PID outside. */
        outerPid: childOf(childOf(shell.pid)),
        pids,
      }
    },
    [Symbol.asyncDispose]: async () => {
      outer.kill('SIGKILL')
      await exited
    },
  }
}
