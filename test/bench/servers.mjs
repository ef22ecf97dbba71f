import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { bundle } from './bundle.mjs'
import { PATH } from './rivals/job.mjs'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
export const BUILT_FILE = here('../../build/dist/psys-kill.cjs')

const folder = mkdtempSync(join(tmpdir(), 'psys-kill-bench-'))
const children = []
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL')
  rmSync(folder, { recursive: true })
})

/** Starts a process that does not outlive this one. */
export const startChild = (file, args, options) => {
  const child = spawn(file, args, options)
  children.push(child)
  return child
}

const [, LAST_CORE] = readFileSync('/proc/self/status', 'latin1').match(/^Cpus_allowed_list:.*?(\d+)$/m)

/** The command that runs another one on one core: there a server that shares it with its clients takes a steady time. */
export const pinned = (file, args) => ['taskset', ['-c', LAST_CORE, file, ...args]]

export const OURS = 'psys-kill'
const TOKEN = 'a-token-for-the-benchmark'

export const servers = {
  [OURS]: { file: BUILT_FILE },
  'like-for-like': { file: here('rivals/like-for-like.mjs') },
  Fastify: { file: here('rivals/fastify.mjs') },
  'plain Hono': { file: here('rivals/plain-hono.mjs') },
  floor: { file: join(folder, 'floor.cjs') },
  'with --quiet': { file: BUILT_FILE, env: { PSYS_KILL_QUIET: '1' } },
  'with a token': { file: BUILT_FILE, env: { PSYS_KILL_TOKEN: TOKEN }, headers: { Authorization: `Bearer ${TOKEN}` } },
}
// A bundle starts sooner than several files.
bundle('rivals/floor.mjs', { outfile: servers.floor.file })

// Below the ports that connect() takes by itself: it could take the very one that it asks for, and so meet itself.
let port = 20_000 + Math.floor(Math.random() * 10_000)

/** Whether the server answers a request yet. */
const answers = () =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(`POST ${PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}`),
    )
    socket.once('data', () => resolve(true)).once('error', () => resolve(false))
  })

/** Starts a server by its name, on one core, with its standard output in a file; resolves at its first response. */
export const start = async (name) => {
  const { file, env = {}, headers } = servers[name]
  port += 1
  const logFile = join(folder, `${port}.log`)
  const log = openSync(logFile, 'w')
  const began = performance.now()
  const child = startChild(...pinned(process.execPath, [file]), {
    // NODE_EXTRA_CA_CERTS would add the same 28 ms to each start and hide the differences.
    env: { ...process.env, NODE_EXTRA_CA_CERTS: undefined, ...env, PORT: String(port) },
    stdio: ['ignore', log, 'ignore'],
  })
  closeSync(log)
  const { pid } = child
  const assertAlive = () => assert.deepEqual([child.exitCode, child.signalCode], [null, null], `${name} has ended`)
  while (!(await answers())) {
    assertAlive()
    await sleep(2)
  }
  const startMs = performance.now() - began
  return {
    name,
    pid,
    url: `http://127.0.0.1:${port}${PATH}`,
    headers: { 'Content-Type': 'application/json', ...headers },
    startMs,
    /** Resident memory in MB: VmRSS now, VmHWM at most so far. */
    memory: (field) => Number(readFileSync(`/proc/${pid}/status`, 'latin1').match(`${field}:\\s+(\\d+)`)[1]) / 1024,
    /** The processor time of all its threads so far, which the kernel counts in nanoseconds. */
    cpuSeconds: () =>
      readdirSync(`/proc/${pid}/task`)
        .map((thread) => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1'))
        .reduce((sum, text) => sum + Number.parseInt(text, 10) / 1e9, 0),
    records: () => readFileSync(logFile, 'utf8').trimEnd().split('\n'),
    stop: async () => {
      assertAlive()
      child.kill('SIGKILL')
      await once(child, 'exit')
      rmSync(logFile)
    },
  }
}
