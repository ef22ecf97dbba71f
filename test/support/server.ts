import { execFile, type SpawnOptions, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { KILL } from './post.ts'
import { heard, inTime } from './processes.ts'

/** The token of the servers that have one. */
export const TOKEN = 'correct-horse-battery-staple'

export const BUILT_FILE = fileURLToPath(new URL('../../build/dist/psys-kill.cjs', import.meta.url))

interface StartOptions extends Pick<SpawnOptions, 'cwd' | 'uid' | 'gid'> {
  /** The command that starts a server. Default: this Node with the built file. */
  command?: readonly string[]
  args?: readonly string[]
  env?: Readonly<Record<string, string>>
  /** What the command has as its descriptor 3. Default: nothing. */
  fd?: number
  /** What the command prints when it listens. The first group is the place. Default: the line of the built file. */
  listening?: RegExp
}

export type RunningServer = Awaited<ReturnType<typeof startServer>>

/** Only these variables: no others of the developer may decide a test. */
const cleanEnv = () => ({ PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '/' })

const OWN_RECORD = /"listening on ([^"]+)"/

/** Starts a server on a free port. Resolves when it listens; otherwise rejects with its output. */
export const startServer = async ({
  command = [process.execPath, BUILT_FILE],
  args = ['--port', '0'],
  env = {},
  listening = OWN_RECORD,
  fd,
  ...options
}: StartOptions = {}) => {
  const [file = '', ...rest] = [...command, ...args]
  const child = spawn(file, rest, { ...options, env: { ...cleanEnv(), ...env }, stdio: ['ignore', 'pipe', 'pipe', fd] })
  const exited = once(child, 'exit')
  if (!child.stdout || !child.stderr) throw new Error('There is nothing to read from')
  const [output, errors] = [heard(child.stdout), heard(child.stderr)]
  const records: Record<string, unknown>[] = []
  let half = ''
  child.stdout.on('data', (chunk) => {
    const lines = `${half}${chunk}`.split('\n')
    half = lines.pop() ?? ''
    // Skip lines that are not JSON: other runtimes print their own.
    const parsed = lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
    records.push(...parsed.filter(({ message }) => message === undefined))
  })
  const placeIn = ({ when, text }: typeof output) => when(`${listening}`, () => listening.exec(text())?.[1])
  const listens = Promise.any([placeIn(output), placeIn(errors)])
  const url = await Promise.race([listens, exited.then(() => listens)]).catch(async (cause) => {
    child.kill('SIGKILL')
    const [code] = await exited
    throw new Error(`The server exited with ${code}: ${errors.text()}`, { cause })
  })

  const stop = async (): Promise<number | null> => {
    child.kill('SIGTERM')
    const [code] = await inTime('the server to stop', exited, () => `It said: ${output.text()}${errors.text()}`)
    return code
  }
  return {
    /** Where it listens: `http://127.0.0.1:PORT`, or the path of a socket. */
    url,
    child,
    /** The lines of standard output that are records of requests, parsed. */
    records,
    stdout: output.text,
    stderr: errors.text,
    /** Resolves with the first record that fits, now or later. */
    record: (fits: (record: Record<string, unknown>) => boolean) =>
      output.when(`a record that fits ${fits}`, () => records.find(fits)),
    /** Resolves when standard output, from a place on, matches. */
    says: (pattern: RegExp, from = 0) =>
      output.when(`${pattern}`, () => pattern.test(output.text().slice(from)) || undefined),
    /** POSTs to the kill route. A string is sent as it is. */
    kill: async (body: unknown, headers: Record<string, string> = {}) => {
      const response = await fetch(url + KILL, {
        method: 'POST',
        // A stop would wait half a second for the next request.
        headers: { 'content-type': 'application/json', connection: 'close', ...headers },
        body: typeof body === 'string' ? body : JSON.stringify(body),
      })
      return { status: response.status, text: await response.text(), headers: response.headers }
    },
    /** Sends SIGTERM. Resolves with the exit code. */
    stop,
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) await stop()
    },
  }
}

/** The status of the health check. */
export const health = async (url: string) =>
  (await fetch(`${url}/healthz`, { headers: { connection: 'close' } })).status

/** Runs a server that ends at once, by default the built file. Resolves with how it ended. */
export const runToEnd = (
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  [file = '', ...before]: readonly string[] = [process.execPath, BUILT_FILE],
) =>
  new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    const options = { env: { PATH: process.env['PATH'] ?? '', ...env }, timeout: 20_000 }
    const child = execFile(file, [...before, ...args], options, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    )
  })
