import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import process from 'node:process'
import { setImmediate as endOfTurn, setTimeout as sleep } from 'node:timers/promises'
import { errorCode } from './error-code.ts'
import { orUndefined } from './proc.ts'

/** Where the lines go: `process.stdout`, or a stream that can be written to like it. */
export interface LogStream {
  /** The descriptor that it writes to, if it has one. */
  readonly fd?: number | null
  write(text: string, encoding: 'utf8', done: (error?: Error | null) => void): unknown
  on(event: 'error', listener: () => void): unknown
}

/** Writes the beginning of some bytes, and returns how many; 0 if it must be tried again. Throws if it fails. */
type Write = (bytes: Buffer) => number | Promise<number>

/** How much may wait for a reader that stalls, in characters. Lines that are not essential may use half of it. */
const MAX_WAITING = 1024 * 1024
/** How long to pause, in milliseconds, before a reader that stalls is tried again. */
const RETRY_MS = 2

/** Writes to a stream by its own `write`. A write that failed may have left half a line. */
const streamWrite = (stream: LogStream): Write => {
  // The callback of `write` gets the error too. Without this listener it would end the process.
  stream.on('error', () => {})
  return (bytes) =>
    new Promise((resolve, reject) => {
      stream.write(bytes.toString(), 'utf8', (error) => (error ? reject(error) : resolve(bytes.length)))
    })
}

/**
 * Writes to the descriptor of a stream directly: the stream itself blocks on a terminal, and takes a short write for a
 * complete one. Undefined if that is impossible, or if somebody has replaced the stream's `write`, as PM2 does.
 */
const descriptorWrite = (stream: LogStream) =>
  orUndefined((): Write | undefined => {
    // On Bun every stream has a `write` of its own.
    const isPatched = Object.hasOwn(stream, 'write') && process.versions['bun'] === undefined
    if (typeof stream.fd !== 'number' || isPatched) return undefined
    // A closed stream has no descriptor: the number may belong to another file by then.
    if (fstatSync(stream.fd).isFile()) return (bytes) => writeSync(stream.fd ?? -1, bytes)
    if (process.platform !== 'linux') return undefined
    // Opened again, it does not block us, and nothing changes for others who have it open. (A socket cannot be.)
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
 * Writes lines to a stream that may be slow, full or closed, so that it never blocks or ends the server.
 *
 * The lines of one turn of the event loop are written together. Lines that cannot be written are dropped and counted, by
 * a line `{"time":"2026-11-24T08:00:00.000Z","dropped":3}`.
 *
 * @param stream - where the lines go, such as `process.stdout`. Its `error` events are handled.
 * @returns `write`, which takes a line without its newline. Up to 1 MiB waits for a reader that stalls. Lines beyond
 *   that are dropped; a line that is not `essential` (default: false) is dropped from half of it on. And `flush`, which
 *   resolves when every accepted line is written or dropped. If the reader stalls that may take forever: bound it by a
 *   timer. Neither delays `process.exit()`.
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
  /** Accepted, but not in a batch yet. */
  let lines = ''
  /** What is left of the batch that is being written. */
  let batch = Buffer.alloc(0)
  let dropped = 0
  /** Whether the last write failed: it may have left half a line. */
  let failed = false
  let sending: Promise<void> | undefined

  const sendAll = async () => {
    await endOfTurn()
    // After a failure, the report waits for the next line.
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
        // What lacks only its newline is not lost: the next batch begins with one.
        if (batch.length > accepted.length + 1) dropped += reported
        dropped += accepted.subarray(-batch.length).subarray(1).toString('latin1').split('\n').length - 1
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
