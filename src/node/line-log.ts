import type { Writable } from 'node:stream'

/** How much may wait for a reader that stalls, in bytes; beyond it lines are dropped. */
const MAX_WAITING = 1024 * 1024

/**
 * Writes lines to a stream that may be slow, full or closed, and never lets it hold up or take down the server: the
 * lines of one turn of the event loop go out as one write, and what cannot be written is dropped and counted.
 *
 * @param stream - where the lines go, such as `process.stdout`; its `error` events are handled.
 * @returns `write` takes a line without its newline; `flush` resolves when what was accepted has been handed over.
 *
 * @example
 * ```ts
 * import { lineLog } from 'psys-kill/node'
 * import { accessLog } from 'psys-kill/server'
 *
 * export const record = accessLog({ write: lineLog(process.stdout).write })
 * ```
 */
export const lineLog = (stream: Writable) => {
  let lines = ''
  let count = 0
  let dropped = 0
  let torn = false

  const hand = (resolve?: () => void) => {
    const lost = dropped
    // A full disk may have taken half a line.
    const fresh = torn ? '\n' : ''
    const batch = lost > 0 ? `${fresh}{"time":"${new Date().toISOString()}","dropped":${lost}}\n${lines}` : lines
    const failed = lost + count
    lines = ''
    count = 0
    dropped = 0
    const done = (error?: unknown) => {
      torn = Boolean(error)
      if (torn) dropped += failed
      resolve?.()
    }
    try {
      stream.write(batch, done)
    } catch {
      // A file is written to at once, and a full disk is thrown here; a closed pipe comes by the callback.
      done(true)
    }
  }

  // The callback of write has it already; without a listener it would end the process.
  stream.on('error', () => {})

  return {
    write: (line: string) => {
      if (stream.writableLength + lines.length > MAX_WAITING) {
        dropped++
        return
      }
      if (count === 0) setImmediate(hand)
      lines += `${line}\n`
      count++
    },
    flush: () => new Promise<void>((resolve) => hand(resolve)),
  }
}
