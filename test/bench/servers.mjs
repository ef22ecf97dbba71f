import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = (path) => fileURLToPath(new URL(path, import.meta.url))
const builtFile = here('../../build/dist/psys-kill.mjs')
export const TOKEN = 'a-token-for-the-benchmark'

/** The servers to compare, the first two being what the ratios refer to. */
export const SERVERS = {
  'like-for-like node:http': { file: here('rivals/like-for-like.mjs') },
  'bare node:http': { file: here('rivals/bare.mjs') },
  'psys-kill': { file: builtFile },
  'psys-kill, quiet': { file: builtFile, env: { PSYS_KILL_QUIET: '1' } },
  'psys-kill, token': { file: builtFile, env: { PSYS_KILL_TOKEN: TOKEN } },
  'plain Hono': { file: here('rivals/plain-hono.mjs') },
  Fastify: { file: here('rivals/fastify.mjs') },
}

const logs = mkdtempSync(join(tmpdir(), 'psys-kill-bench-'))
let port = 20_000 + Math.floor(Math.random() * 20_000)

/** Starts a server with its output in a file; resolves at its first response, with the milliseconds it took. */
export const start = async ({ file, env = {} }) => {
  port += 1
  const log = openSync(join(logs, `${port}.log`), 'w')
  // NODE_EXTRA_CA_CERTS would add the same 28 ms to each start and hide the differences.
  const { NODE_EXTRA_CA_CERTS: _, ...inherited } = process.env
  const began = performance.now()
  const child = spawn(process.execPath, [file], {
    env: { ...inherited, ...env, PORT: String(port) },
    stdio: ['ignore', log, 'ignore'],
  })
  closeSync(log)
  const exited = once(child, 'exit')
  const request =
    'POST /api/connections/kill HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n' +
    'Content-Length: 11\r\nConnection: close\r\n\r\n{"pid":"x"}'
  const answered = () =>
    new Promise((resolve) => {
      const socket = connect(port, '127.0.0.1', () => socket.write(request))
      socket.once('data', () => resolve(true))
      socket.once('error', () => resolve(false))
    })
  while (!(await answered())) {
    if (child.exitCode !== null) throw new Error(`${file} does not start`)
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
  return {
    url: `http://127.0.0.1:${port}/api/connections/kill`,
    startMs: performance.now() - began,
    /** Resident memory in MB: now, and the highest so far. */
    memory: () => {
      const status = readFileSync(`/proc/${child.pid}/status`, 'utf8')
      const megabytes = (name) => Number(status.match(new RegExp(`${name}:\\s+(\\d+)`))[1]) / 1024
      return { idle: megabytes('VmRSS'), peak: megabytes('VmHWM') }
    },
    stop: async () => {
      child.kill('SIGKILL')
      await exited
    },
  }
}
