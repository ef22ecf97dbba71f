import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { inTime } from './processes.ts'

/** The token of the servers that have one. */
export const TOKEN = 'correct-horse-battery-staple'

export const BUILT_FILE = fileURLToPath(new URL('../../build/dist/psys-kill.cjs', import.meta.url))

export interface StartOptions {
  /** The command that starts a server. Default: this Node with the built file. */
  command?: readonly string[]
  args?: readonly string[]
  env?: Readonly<Record<string, string>>
  cwd?: string
  /** What the command has as its descriptor 3. Default: nothing. */
  fd?: number
  uid?: number
  gid?: number
  /** What the command says once it listens, with the place as its first group. Default: the record of the built file. */
  listening?: RegExp
}

export interface RunningServer extends AsyncDisposable {
  /** Where it listens, as it says itself: `http://127.0.0.1:PORT`, or the path of a socket. */
  url: string
  child: ChildProcess
  /** The lines of standard output that are records of requests, parsed. */
  records: Record<string, unknown>[]
  stdout: () => string
  stderr: () => string
  /** Resolves with the first record, present or to come, that fits. */
  record: (fits: (record: Record<string, unknown>) => boolean) => Promise<Record<string, unknown>>
  /** Resolves when standard output, from a place in it on, says this. */
  says: (pattern: RegExp, from?: number) => Promise<void>
  /** POSTs to the kill route; a string goes out as it is. */
  kill: (body: unknown, headers?: Record<string, string>) => Promise<{ status: number; text: string; headers: Headers }>
  /** Sends SIGTERM and resolves with the exit code. */
  stop: () => Promise<number | null>
}

/** Only what a program needs: no variable of the developer's own decides a test. */
const cleanEnv = () => ({ PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/' })

const OWN_RECORD = /"listening on ([^"]+)"/

/** Starts a server on a free port and resolves when it listens; rejects with what it said where it does not. */
export const startServer = async ({
  command = [process.execPath, BUILT_FILE],
  args = ['--port', '0'],
  env = {},
  listening = OWN_RECORD,
  fd,
  ...options
}: StartOptions = {}): Promise<RunningServer> => {
  const [file = '', ...rest] = command
  const child = spawn(file, [...rest, ...args], {
    ...options,
    env: { ...cleanEnv(), ...env },
    stdio: ['ignore', 'pipe', 'pipe', fd],
  })
  const { stdout: output, stderr: errors } = child
  if (!output || !errors) throw new Error('There is nothing to read from')
  const exited = once(child, 'exit')
  let stdout = ''
  let stderr = ''
  const records: Record<string, unknown>[] = []
  const watchers = new Set<() => void>()
  let seen = 0
  const said = () => `It said: ${stdout}${stderr}`
  const ready = new Promise<string>((resolve, reject) => {
    let found: RegExpExecArray | null = null
    const look = () => {
      found ??= listening.exec(stdout) ?? listening.exec(stderr)
      if (found) resolve(found[1] ?? '')
    }
    errors.on('data', (chunk) => {
      stderr += chunk
      look()
    })
    output.on('data', (chunk) => {
      stdout += chunk
      look()
      for (let end = stdout.indexOf('\n', seen); end >= 0; end = stdout.indexOf('\n', seen)) {
        const line = stdout.slice(seen, end)
        seen = end + 1
        // Other runtimes say in words of their own that they listen.
        const record = line.startsWith('{') ? JSON.parse(line) : undefined
        if (record && record.message === undefined) records.push(record)
      }
      for (const watcher of watchers) watcher()
    })
    child.once('error', reject)
    exited.then(([code]) => reject(new Error(`The server exited with ${code}: ${stderr}`)), reject)
  })
  const url = await inTime(`${listening} of ${[...command, ...args].join(' ')}`, ready, said).catch((error) => {
    child.kill('SIGKILL')
    throw error
  })

  const watch = <Found>(find: () => Found | undefined) =>
    new Promise<Found>((resolve) => {
      const look = () => {
        const found = find()
        if (found === undefined) return
        watchers.delete(look)
        resolve(found)
      }
      watchers.add(look)
      look()
    })

  const stop = async () => {
    child.kill('SIGTERM')
    const [code] = await inTime('the server to stop', exited, said)
    return code
  }
  return {
    url,
    child,
    records,
    stdout: () => stdout,
    stderr: () => stderr,
    record: (fits) =>
      inTime(
        `a record that fits ${fits}`,
        watch(() => records.find(fits)),
        said,
      ),
    says: async (pattern, from = 0) => {
      await inTime(
        `it to say ${pattern}`,
        watch(() => pattern.exec(stdout.slice(from)) ?? undefined),
        said,
      )
    },
    kill: async (body, headers = {}) => {
      const response = await fetch(`${url}/api/connections/kill`, {
        method: 'POST',
        // A stop would wait half a second for the next request.
        headers: { 'content-type': 'application/json', connection: 'close', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      })
      return { status: response.status, text: await response.text(), headers: response.headers }
    },
    stop,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) await stop()
    },
  }
}

/** The status of the health check. */
export const health = async (url: string) =>
  (await fetch(`${url}/healthz`, { headers: { connection: 'close' } })).status

export interface Ending {
  code: number | null
  stdout: string
  stderr: string
}

/** Runs a server, by default the built file, with settings that end it at once, and resolves with how it ended. */
export const runToEnd = (
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  [file = '', ...before]: readonly string[] = [process.execPath, BUILT_FILE],
): Promise<Ending> =>
  new Promise((resolve) => {
    const child = execFile(
      file,
      [...before, ...args],
      { env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: 20_000 },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    )
  })
