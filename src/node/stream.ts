import type { LogStream } from './line-log.ts'

/** Writes some of the bytes, from an offset on, and tells how many; throws or rejects where it fails. */
export type Write = (bytes: Buffer, from: number) => number | Promise<number>

/** Writes to a stream by its own `write`, one at a time. */
export const streamWriter = (stream: LogStream): Write => {
  // The callback of write has it already; without a listener it would end the process.
  stream.on('error', () => {})
  let fresh = ''
  return (bytes, from) =>
    new Promise((resolve, reject) => {
      const text = fresh + bytes.toString('utf8', from)
      // Until it succeeds: a write that failed does not tell whether half a line went out.
      fresh = '\n'
      stream.write(text, 'utf8', (error) => {
        if (error) return reject(error)
        fresh = ''
        resolve(bytes.length - from)
      })
    })
}
