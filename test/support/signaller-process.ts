import { spawn } from 'node:child_process'
import { chmodSync } from 'node:fs'
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
