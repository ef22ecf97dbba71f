import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { Writable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { lineLog } from '../../src/node/line-log.ts'
import { dropped } from '../support/dropped.ts'

type Done = (error?: Error | null) => void

/** A stream that keeps each write, and lets the test say how it ended. */
const recorder = (end: (done: Done, writes: number) => void = (done) => done()) => {
  const writes: string[] = []
  const stream = new Writable({
    decodeStrings: false,
    // As process.stdout does: an error is not the end.
    autoDestroy: false,
    write: (chunk: string, _encoding, done) => {
      writes.push(chunk)
      end(done, writes.length)
    },
  })
  return { stream, writes }
}

test('the lines of one turn of the event loop are one write', async () => {
  const { stream, writes } = recorder()
  const log = lineLog(stream)
  log.write('a')
  log.write('b')
  await Promise.resolve()
  log.write('c')
  expect(writes).toEqual([])
  await setImmediate()
  expect(writes).toEqual(['a\nb\nc\n'])
  await setImmediate()
  log.write('d')
  await setImmediate()
  expect(writes).toEqual(['a\nb\nc\n', 'd\n'])
})

test('flush resolves when everything has been handed over', async () => {
  let finish: Done | undefined
  const { stream, writes } = recorder((done) => {
    finish = done
  })
  const log = lineLog(stream)
  log.write('a')
  let flushed = false
  const flush = log.flush().then(() => {
    flushed = true
  })
  expect(writes).toEqual(['a\n'])
  await setImmediate()
  expect(flushed).toBe(false)
  finish?.()
  await flush
})

test('flush resolves with nothing to hand over, and where the stream fails', async () => {
  await lineLog(recorder().stream).flush()
  const log = lineLog(recorder((done) => done(new Error('EPIPE'))).stream)
  log.write('a')
  await log.flush()
})

describe('a stream that stalls', () => {
  const LINE = 'x'.repeat(999)
  const MEBIBYTE = 1024 * 1024

  /** A log whose first line is under way, and stays so until `resume`. */
  const stalled = async (first = 'f'.repeat(99_999)) => {
    let resume: Done | undefined
    const { stream, writes } = recorder((done) => {
      if (resume) done()
      else resume = done
    })
    const log = lineLog(stream)
    log.write(first, true)
    await setImmediate()
    return { log, writes, resume: () => resume?.() }
  }

  test('has a bounded number of lines wait; those beyond are dropped, counted and reported', async () => {
    const { log, writes, resume } = await stalled()
    for (let i = 0; i < 3000; i++) {
      log.write(LINE, true)
      if (i % 100 === 0) await setImmediate()
    }
    expect(writes).toHaveLength(1)
    resume()
    await log.flush()
    log.write('later')
    await log.flush()
    const [, waited = '', later] = writes
    const kept = waited.split(LINE).length - 1
    expect(kept).toBe(Math.floor((MEBIBYTE - 100_000) / 1000))
    expect(dropped(waited)).toBe(3000 - kept)
    expect(waited).not.toMatch(/^\n|\n\n/)
    expect(later).toBe('later\n')
  })

  test('keeps half of the room for the essential lines', async () => {
    const { log, writes, resume } = await stalled()
    for (let i = 0; i < 3000; i++) log.write(LINE)
    for (let i = 0; i < 400; i++) log.write(`${LINE}!`, true)
    log.write(LINE)
    resume()
    await log.flush()
    const waited = writes[1] ?? ''
    const kept = Math.floor((MEBIBYTE / 2 - 100_000) / 1000)
    expect(waited.split(`${LINE}\n`).length - 1).toBe(kept)
    expect(waited.split(`${LINE}!\n`).length - 1).toBe(400)
    expect(dropped(waited)).toBe(3001 - kept)
  })

  test('is told of what was dropped as soon as it goes on, with no line that follows', async () => {
    const { log, writes, resume } = await stalled('f'.repeat(MEBIBYTE - 1))
    log.write('dropped', true)
    const flush = log.flush()
    resume()
    await flush
    expect(writes).toHaveLength(2)
    expect(dropped(writes[1] ?? '')).toBe(1)
  })

  test('within one turn as well', async () => {
    const { stream, writes } = recorder()
    const log = lineLog(stream)
    for (let i = 0; i < 3000; i++) log.write(LINE, true)
    await setImmediate()
    expect(writes).toHaveLength(1)
    expect(dropped(writes[0] ?? '')).toBe(3000 - Math.floor(MEBIBYTE / 1000))
  })

  test('and characters that take three bytes make no difference', async () => {
    const { stream, writes } = recorder()
    const log = lineLog(stream)
    for (const length of [1, 20_000, 25_000, 500_000]) {
      log.write('€'.repeat(length), true)
      await setImmediate()
      expect(writes.pop()).toBe(`${'€'.repeat(length)}\n`)
    }
  })

  test('is a real socket that nobody reads: memory stays bounded, and a reader that comes back is told', async () => {
    using reader = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] })
    const log = lineLog(reader.stdin)
    for (let i = 0; i < 5000; i++) {
      log.write(LINE)
      if (i % 50 === 0) await setImmediate()
    }
    expect(reader.stdin.writableLength).toBeLessThan(MEBIBYTE)
    let text = ''
    reader.stdout.on('data', (chunk) => {
      text += chunk
    })
    await log.flush()
    log.write('the end')
    await log.flush()
    reader.stdin.end()
    await once(reader, 'close')
    const kept = text.split(LINE).length - 1
    expect(kept).toBeLessThan(5000)
    expect(dropped(text)).toBe(5000 - kept)
    expect(text.endsWith('\nthe end\n')).toBe(true)
  })
})

describe('a stream that fails', () => {
  test.each<[how: string, fail: (done: Done) => void]>([
    ['by its callback', (done) => done(new Error('ENOSPC'))],
    [
      'by throwing',
      () => {
        throw new Error('ENOSPC')
      },
    ],
    [
      'by throwing no Error',
      () => {
        throw 'ENOSPC'
      },
    ],
  ])('has its lines counted as dropped, and reported when it works again: %s', async (_how, fail) => {
    const writes: string[] = []
    let failures = 2
    const write = (chunk: string, _encoding: 'utf8', done: Done) => {
      writes.push(chunk)
      if (failures-- > 0) fail(done)
      else done()
      return true
    }
    const log = lineLog(Object.assign(new Writable(), { write }))
    log.write('a')
    log.write('b')
    await setImmediate()
    log.write('c')
    await setImmediate()
    log.write('d')
    await setImmediate()
    expect(writes).toHaveLength(3)
    expect(dropped(writes[2] ?? '')).toBe(3)
    // On a line of its own, even if the disk took half a line before it was full.
    expect(writes[2]).toMatch(/^\n\{[^\n]+\}\nd\n$/)
    log.write('e')
    await setImmediate()
    expect(writes[3]).toBe('e\n')
    log.write('x'.repeat(2_000_000), true)
    log.write('f')
    await setImmediate()
    expect(writes[4]).toMatch(/^\{[^\n]+"dropped":1\}\nf\n$/)
  })

  test('is a real socket whose reader has gone: nothing is thrown, memory stays bounded', async () => {
    using reader = spawn('true', { stdio: ['pipe', 'ignore', 'inherit'] })
    await once(reader, 'exit')
    const log = lineLog(reader.stdin)
    for (let i = 0; i < 5000; i++) {
      log.write('x'.repeat(999))
      if (i % 50 === 0) await setImmediate()
    }
    await log.flush()
    expect(reader.stdin.writableLength).toBeLessThan(1_100_000)
  })
})

test('a write that somebody put over that of a stream gets the lines, and not the descriptor', async () => {
  const texts: string[] = []
  const write = (text: string, _encoding: 'utf8', done: Done) => {
    texts.push(text)
    done()
  }
  const log = lineLog(Object.assign(new Writable(), { fd: openSync('/dev/full', 'w'), write }))
  log.write('a')
  await log.flush()
  expect(texts).toEqual(['a\n'])
})
