import { descriptorWriter } from './descriptor.ts'
import { streamWriter } from './stream.ts'

/** Where the lines go: `process.stdout`, or what can be written to like it. */
export interface LogStream {
  /** The descriptor that it writes to, where it has one. */
  readonly fd?: number | null
  write(text: string, encoding: 'utf8', done: (error?: Error | null) => void): unknown
  on(event: 'error', listener: () => void): unknown
}

/** How much may wait for a reader that stalls, in bytes (records are ASCII); of lines that are not essential, half of it. */
const MAX_WAITING = 1024 * 1024
/** For a batch of up to a third of it, as UTF-8 takes up to three bytes for a character. */
const BUFFER_BYTES = 64 * 1024
const NEWLINE = 10

/**
 * Writes lines to a stream that may be slow, full or closed, and never lets it hold up or take down the server: the
 * lines of one turn of the event loop go out together, and what cannot be written is dropped and counted by a line
 * `{"time":"2026-11-24T08:00:00.000Z","dropped":3}`.
 *
 * Where the stream has a descriptor, that is written to instead: a file on every system, a pipe or a terminal on Linux;
 * not where somebody has put a `write` of their own over the stream's.
 *
 * @param stream - where the lines go, such as `process.stdout`; its `error` events are handled.
 * @returns `write` takes a line without its newline. Up to 1 MiB waits for a reader that stalls; lines beyond it are
 *   dropped, and from half of it on those that are not `essential` (default: false), so that they cannot crowd out the
 *   others. `flush` resolves when all that was accepted has been handed over or dropped; where the reader stalls, only
 *   when it reads again, so bound it by a timer. Nothing of it holds up `process.exit()`.
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
  const send = descriptorWriter(stream) ?? streamWriter(stream)
  /** Accepted, and not yet in a batch. */
  let lines = ''
  let dropped = 0
  // A new Buffer for each batch would take as long as writing it.
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES)
  let batch = buffer.subarray(0, 0)
  /** How much of the batch is out, and whether that ends in half a line. */
  let sent = 0
  let torn = false
  let sending: Promise<void> | undefined

  /** Sends what waits, and tells whether that worked. */
  const sendBatch = async () => {
    const reported = dropped
    const report = reported > 0 ? `{"time":"${new Date().toISOString()}","dropped":${reported}}\n` : ''
    const head = (torn ? '\n' : '') + report
    const text = head + lines
    batch = text.length * 3 <= BUFFER_BYTES ? buffer.subarray(0, buffer.write(text)) : Buffer.from(text)
    sent = 0
    lines = ''
    dropped = 0
    try {
      while (sent < batch.length) {
        const written = send(batch, sent)
        sent += typeof written === 'number' ? written : await written
      }
      torn = false
      return true
    } catch {
      if (sent > 0) torn = batch[sent - 1] !== NEWLINE
      // A line that lacks only its newline will get that.
      const whole = batch[sent] === NEWLINE ? sent + 1 : sent
      const lost = batch.toString('latin1', Math.max(whole, head.length)).split('\n').length - 1
      dropped += lost + (whole < head.length ? reported : 0)
      sent = batch.length
      return false
    }
  }

  const sendAll = async () => {
    let worked = true
    // After a failure the report waits for the next line.
    while (lines !== '' || (dropped > 0 && worked)) worked = await sendBatch()
    sending = undefined
  }

  const flush = async () => {
    if (lines !== '' || dropped > 0) sending ??= sendAll()
    await sending
  }

  return {
    write: (line: string, essential = false) => {
      const waiting = batch.length - sent + lines.length + line.length
      if (waiting > (essential ? MAX_WAITING : MAX_WAITING / 2)) {
        dropped++
        return
      }
      if (lines === '' && !sending) setImmediate(flush)
      lines += `${line}\n`
    },
    flush,
  }
}
