import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { buildSync } from 'esbuild'
import { pinned, startChild, stopChild } from './children.mjs'
import { PATH } from './rivals/job.mjs'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
export const BUILT_FILE = here('../../build/dist/psys-kill.cjs')

const folder = mkdtempSync(join(tmpdir(), 'psys-kill-bench-'))
process.on('exit', () => rmSync(folder, { recursive: true }))

/** Bundled as the single file is, since that alone makes a server start sooner. */
const bundled = (path) => {
  const outfile = join(folder, 'floor.cjs')
  buildSync({ entryPoints: [here(path)], outfile, bundle: true, minify: true, platform: 'node', format: 'cjs' })
  return outfile
}

const TOKEN = 'a-token-for-the-benchmark'
const JSON_BODY = { 'Content-Type': 'application/json' }

export const OURS = 'psys-kill'
export const LIKE = 'like-for-like'
export const FASTIFY = 'Fastify'
export const HONO = 'plain Hono'
export const FLOOR = 'floor'

const SERVERS = {
  [OURS]: { file: BUILT_FILE },
  [LIKE]: { file: here('rivals/like-for-like.mjs') },
  [FASTIFY]: { file: here('rivals/fastify.mjs') },
  [HONO]: { file: here('rivals/plain-hono.mjs') },
  [FLOOR]: { file: bundled('rivals/floor.mjs') },
  '--quiet': { file: BUILT_FILE, env: { PSYS_KILL_QUIET: '1' } },
  'with a token': {
    file: BUILT_FILE,
    env: { PSYS_KILL_TOKEN: TOKEN },
    headers: { ...JSON_BODY, Authorization: `Bearer ${TOKEN}` },
  },
}

/** Adds a server that is a single file of psys-kill. */
export const addServer = (name, file) => {
  SERVERS[name] = { file }
}

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

/** Processor time that a process has used so far, in seconds: all its threads, to the nanosecond. */
const cpuSecondsOf = (pid) => {
  const nanoseconds = readdirSync(`/proc/${pid}/task`).map((thread) =>
    Number.parseInt(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'latin1'), 10),
  )
  return nanoseconds.reduce((sum, each) => sum + each, 0) / 1e9
}

/** Starts a server by its name, on one core, with its standard output in a file; resolves at its first response. */
export const start = async (name) => {
  const { file, env = {}, headers = JSON_BODY } = SERVERS[name]
  port += 1
  const logFile = join(folder, `${port}.log`)
  const log = openSync(logFile, 'w')
  // NODE_EXTRA_CA_CERTS would add the same 28 ms to each start and hide the differences.
  const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env
  const began = performance.now()
  const child = startChild(...pinned(process.execPath, [file]), {
    env: { ...inherited, ...env, PORT: String(port) },
    stdio: ['ignore', log, 'ignore'],
  })
  closeSync(log)
  const assertAlive = () => assert.deepEqual([child.exitCode, child.signalCode], [null, null], `${name} has ended`)
  while (!(await answers())) {
    assertAlive()
    await sleep(2)
  }
  const startMs = performance.now() - began
  const memory = (field) =>
    Number(readFileSync(`/proc/${child.pid}/status`, 'latin1').match(`${field}:\\s+(\\d+)`)[1]) / 1024
  return {
    name,
    pid: child.pid,
    url: `http://127.0.0.1:${port}${PATH}`,
    headers,
    startMs,
    /** Resident memory in MB, now and at most so far. */
    memoryNow: () => memory('VmRSS'),
    memoryPeak: () => memory('VmHWM'),
    cpuSeconds: () => cpuSecondsOf(child.pid),
    records: () => readFileSync(logFile, 'utf8').trimEnd().split('\n'),
    stop: async () => {
      assertAlive()
      await stopChild(child)
      rmSync(logFile)
    },
  }
}
