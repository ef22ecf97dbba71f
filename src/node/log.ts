import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import { setImmediate as endOfTurn, setTimeout as sleep } from 'node:timers/promises'
import { errorCode, orUndefined } from './proc.ts'

/** Where the lines go: `process.stdout`, or any stream with the same `write`. */
export interface LogStream {
  /** The file descriptor of the stream, if it has one. */
  readonly fd?: number | null
  write(text: string, encoding: 'utf8', done: (error?: Error | null) => void): unknown
  on(event: 'error', listener: () => void): unknown
}

/** Writes some of the bytes, from the first on, and returns how many. 0 means: try again later. Throws if it fails. */
type Write = (bytes: Buffer) => number | Promise<number>

/** How much may wait for a reader that stalls, in characters. Lines that are not essential may use half of it. */
const MAX_WAITING = 1024 * 1024
/** How long to wait before the next attempt if the reader stalls, in milliseconds. */
const RETRY_MS = 2

/** Writes to a stream by its own `write`. A write that failed may have left half a line. */
const streamWrite = (stream: LogStream): Write => {
  // Without a listener, an error would end the process. The callback of `write` gets the error too.
  stream.on('error', () => {})
  return (bytes) =>
    new Promise((resolve, reject) => {
      stream.write(bytes.toString(), 'utf8', (error) => (error ? reject(error) : resolve(bytes.length)))
    })
}

/**
 * Writes directly to the descriptor of a stream. The stream itself blocks on a terminal, and takes a short write for a
 * complete one. Undefined if there is no such descriptor, or if other code has replaced `stream.write`, as PM2 does.
 */
const descriptorWrite = (stream: LogStream) =>
  orUndefined((): Write | undefined => {
    // On Bun every stream has a `write` of its own.
    const isPatched = Object.hasOwn(stream, 'write') && process.versions['bun'] === undefined
    if (typeof stream.fd !== 'number' || isPatched) return undefined
    // Read `fd` at each write. A closed stream has none, and its old number may belong to another file.
    if (fstatSync(stream.fd).isFile()) return (bytes) => writeSync(stream.fd ?? -1, bytes)
    if (process.platform !== 'linux') return undefined
    // Open it again: to make the shared one non-blocking would affect other processes. (This throws for a socket.)
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
    const fd = openSync(`/proc/self/fd/${stream.fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY)
    return (bytes) => {
      try {
        return writeSync(fd, bytes)
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') throw error
        return 0
      }
    }
  })

/**
 * Writes lines to a stream. A slow reader never blocks the server, and an error of the stream never ends it.
 *
 * It writes the lines of one turn of the event loop together. It drops lines that it cannot write, and reports their
 * number in a line of its own: `{"time":"2026-11-24T08:00:00.000Z","dropped":3}`.
 *
 * @param stream - where the lines go, such as `process.stdout`. Its `error` events are handled.
 * @returns two functions. `process.exit()` waits for neither.
 *   - `write` takes a line without its newline. If the reader stalls, up to 1 MiB of lines waits. Any more are dropped.
 *     A line that is not `essential` (default: false) is dropped above half of that.
 *   - `flush` resolves when every accepted line is written or dropped. If the reader stalls, it may never resolve: use
 *     a timeout.
 *
 * @example
 * ```ts
 * import { lineLog } from 'psys-kill/node'
 * import { accessLog } from 'psys-kill/server'
 *
 * export const record = accessLog({ write: lineLog(process.stdout).write })
 * ```
 */
export const lineLog = (stream: LogStream) => {
  const send = descriptorWrite(stream) ?? streamWrite(stream)
  /** Lines that are accepted, but not in a batch yet. */
  let lines = ''
  /** The rest of the batch that is being written. */
  let batch = Buffer.alloc(0)
  let dropped = 0
  /** Whether the last write failed: it may have left half a line. */
  let failed = false
  let sending: Promise<void> | undefined

  const sendAll = async () => {
    await endOfTurn()
    // After a failure, report the dropped lines together with the next line.
    while (lines !== '' || (dropped > 0 && !failed)) {
      const reported = dropped
      const report = reported > 0 ? `{"time":"${new Date().toISOString()}","dropped":${reported}}\n` : ''
      const accepted = Buffer.from(lines)
      batch = Buffer.concat([Buffer.from((failed ? '\n' : '') + report), accepted])
      lines = ''
      dropped = 0
      try {
        while (batch.length > 0) {
          const written = await send(batch)
          batch = batch.subarray(written)
          if (written === 0) await sleep(RETRY_MS)
        }
        failed = false
      } catch {
        failed = true
        // A line that lacks only its newline is not lost: the next batch begins with a newline.
        const lost = batch.subarray(1).toString('latin1').split('\n').length - 1
        // If the report is among the lost lines, count what it reported instead.
        dropped += batch.length > accepted.length + 1 ? lost - 1 + reported : lost
        batch = Buffer.alloc(0)
      }
    }
    sending = undefined
  }

  return {
    write: (line: string, essential = false) => {
      sending ??= sendAll()
      const waiting = batch.length + lines.length + line.length
      if (waiting > (essential ? MAX_WAITING : MAX_WAITING / 2)) dropped++
      else lines += `${line}\n`
    },
    flush: async () => sending,
  }
}
