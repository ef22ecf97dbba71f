import { constants, fstatSync, openSync, writeSync } from 'node:fs'
import process from 'node:process'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode } from './error-code.ts'
import type { LogStream } from './line-log.ts'
import type { Write } from './stream.ts'

/** PIPE_BUF of Linux: a pipe takes as much as this whole or not at all. */
const ATOMIC = 4096
const NEWLINE = 10
/** After how many milliseconds a reader that stalls is tried again. */
const RETRY_MS = 2

/** Whether somebody put a `write` of their own over the stream's, as PM2 does; on Bun every stream has its own. */
const isPatched = (stream: LogStream) => Object.hasOwn(stream, 'write') && process.versions['bun'] === undefined

/** Where the piece that starts there ends: with a line that is within ATOMIC, or with the one line that is longer. */
const pieceEnd = (bytes: Buffer, from: number) => {
  if (bytes.length - from <= ATOMIC) return bytes.length
  const end = bytes.lastIndexOf(NEWLINE, from + ATOMIC - 1)
  return (end >= from ? end : bytes.indexOf(NEWLINE, from)) + 1
}

/**
 * Writes to the descriptor of a stream past the stream, whose writes block on a terminal and take a short write for a
 * whole one; undefined where that cannot be.
 */
export const descriptorWriter = (stream: LogStream): Write | undefined => {
  try {
    if (typeof stream.fd !== 'number' || isPatched(stream)) return undefined
    const isFile = fstatSync(stream.fd).isFile()
    if (!isFile && process.platform !== 'linux') return undefined
    // Opened again it does not block, and that changes nothing for others who hold it; a socket cannot be. Of a file
    // the stream's own is used, which becomes null when it closes, as only that has the place of the next line.
    const { O_WRONLY, O_NONBLOCK, O_NOCTTY } = constants
    const target = isFile ? stream : { fd: openSync(`/proc/self/fd/${stream.fd}`, O_WRONLY | O_NONBLOCK | O_NOCTTY) }
    return (bytes, from) => {
      const end = isFile ? bytes.length : pieceEnd(bytes, from)
      try {
        return writeSync(target.fd ?? -1, bytes, from, end - from) || sleep(RETRY_MS, 0)
      } catch (error) {
        if (errorCode(error) !== 'EAGAIN') throw error
        return sleep(RETRY_MS, 0)
      }
    }
  } catch {
    return undefined
  }
}
