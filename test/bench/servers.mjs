import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { startChild, stopChild } from './children.mjs'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
export const BUILT_FILE = here('../../build/dist/psys-kill.cjs')

const TOKEN = 'a-token-for-the-benchmark'
const PATH = '/api/connections/kill'
const HEADERS = { 'Content-Type': 'application/json' }

/** The servers to compare. */
export const SERVERS = {
  'psys-kill': { file: BUILT_FILE },
  '--quiet': { file: BUILT_FILE, env: { PSYS_KILL_QUIET: '1' } },
  'with a token': {
    file: BUILT_FILE,
    env: { PSYS_KILL_TOKEN: TOKEN },
    headers: { ...HEADERS, Authorization: `Bearer ${TOKEN}` },
  },
  'like-for-like': { file: here('rivals/like-for-like.mjs') },
  'bare node:http': { file: here('rivals/bare.mjs') },
  'plain Hono': { file: here('rivals/plain-hono.mjs') },
  Fastify: { file: here('rivals/fastify.mjs') },
}

const logs = mkdtempSync(join(tmpdir(), 'psys-kill-bench-'))
process.on('exit', () => rmSync(logs, { recursive: true }))
let port = 20_000 + Math.floor(Math.random() * 10_000)

/** Whether the server answers a request yet. */
const answers = () =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () =>
      socket.write(`POST ${PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}`),
    )
    socket.once('data', () => resolve(true)).once('error', () => resolve(false))
  })

/** Starts a server with its standard output in a file; resolves at its first response. */
export const start = async ({ file, env = {}, headers = HEADERS }) => {
  port += 1
  const log = openSync(join(logs, `${port}.log`), 'w')
  // NODE_EXTRA_CA_CERTS would add the same 28 ms to each start and hide the differences.
  const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env
  const began = performance.now()
  const child = startChild(process.execPath, [file], {
    env: { ...inherited, ...env, PORT: String(port) },
    stdio: ['ignore', log, 'ignore'],
  })
  closeSync(log)
  while (!(await answers())) {
    if (child.exitCode !== null) throw new Error(`${file} does not start`)
    await sleep(2)
  }
  const startMs = performance.now() - began
  const stat = () => readFileSync(`/proc/${child.pid}/stat`, 'latin1').split(') ')[1].split(' ')
  const memory = (name) =>
    Number(readFileSync(`/proc/${child.pid}/status`, 'latin1').match(`${name}:\\s+(\\d+)`)[1]) / 1024
  return {
    url: `http://127.0.0.1:${port}${PATH}`,
    headers,
    startMs,
    /** Resident memory in MB, now and at most so far. */
    memoryNow: () => memory('VmRSS'),
    memoryPeak: () => memory('VmHWM'),
    /** Processor time used so far, in seconds; the kernel counts in ticks of 10 ms. */
    cpuSeconds: () => (Number(stat()[11]) + Number(stat()[12])) / 100,
    stop: () => stopChild(child),
  }
}
