import { ChildProcess } from 'node:child_process'
import { afterAll, expect, vi } from 'vitest'

/** Missing from @types/node. Every asynchronous way to start a process calls it. */
interface Spawning {
  spawn?: (this: ChildProcess, options: { envPairs?: string[] }) => number
}

const living = new Set<ChildProcess>()
const prototype: ChildProcess & Spawning = ChildProcess.prototype
const { spawn } = prototype
if (!spawn) throw new Error('This Node starts its processes in another way')

// Every child inherits these: run-guard.mjs finds processes by TEST_RUN, and they write to TMPDIR.
const marks = ['TEST_RUN', 'TMPDIR'].map((name) => [`${name}=`, process.env[name] ?? ''] as const)

prototype.spawn = function (options) {
  const { envPairs = [] } = options
  for (const [name, value] of marks)
    if (!envPairs.some((pair) => pair.startsWith(name))) envPairs.push(`${name}${value}`)
  living.add(this)
  this.once('exit', () => living.delete(this))
  return spawn.call(this, { ...options, envPairs })
}

/** The service that esbuild keeps, which ends with this process. */
const isService = ({ spawnfile }: ChildProcess) => /\besbuild\b/.test(spawnfile)

afterAll(async () => {
  const left = () => [...living].filter((child) => child.pid && !isService(child))
  const commands = () => left().map(({ spawnargs }) => spawnargs.join(' '))
  try {
    // A process that was just killed needs a moment to end.
    await vi.waitFor(() => expect(commands(), 'still runs').toEqual([]), 5000)
  } finally {
    for (const child of left()) child.kill('SIGKILL')
  }
})
