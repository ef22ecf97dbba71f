import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Writable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { lineLog } from '../../src/node/line-log.ts'

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

/** How many lines the reports in a text say were dropped. */
const dropped = (text: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => {
      const { time, dropped, ...rest } = JSON.parse(line)
      expect(time).toMatch(/^\d{4}-.+Z$/)
      expect(rest).toEqual({})
      return Number(dropped)
    })
    .reduce((sum, count) => sum + count, 0)

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

  test('has a bounded number of lines wait; those beyond are dropped, counted and reported', async () => {
    const pending: Done[] = []
    const { stream, writes } = recorder((done) => pending.push(done))
    const log = lineLog(stream)
    for (let i = 0; i < 3000; i++) {
      log.write(LINE)
      if (i % 100 === 0) await setImmediate()
    }
    await setImmediate()
    expect(stream.writableLength).toBeGreaterThan(1_000_000)
    expect(stream.writableLength).toBeLessThan(1_100_000)
    while (pending.length > 0) {
      pending.shift()?.()
      await setImmediate()
    }
    log.write('after')
    await setImmediate()
    pending.shift()?.()
    const kept = writes.join('').split(LINE).length - 1
    expect(kept).toBeGreaterThan(1000)
    expect(dropped(writes.join(''))).toBe(3000 - kept)
    expect(writes.join('')).not.toMatch(/^\n|\n\n/)
    expect(writes.at(-1)).toMatch(/\}\nafter\n$/)
    await setImmediate()
    log.write('later')
    await setImmediate()
    expect(writes.at(-1)).toBe('later\n')
  })

  test('within one turn as well', async () => {
    const { stream, writes } = recorder()
    const log = lineLog(stream)
    for (let i = 0; i < 3000; i++) log.write(LINE)
    await setImmediate()
    expect(writes).toHaveLength(1)
    expect(writes[0]?.length).toBeGreaterThan(1_000_000)
    expect(writes[0]?.length).toBeLessThan(1_100_000)
    expect(dropped(writes[0] ?? '')).toBe(3000 - ((writes[0]?.split(LINE).length ?? 0) - 1))
  })

  test('is a real pipe that nobody reads: memory stays bounded, and a reader that comes back is told', async () => {
    using reader = spawn('cat', { stdio: ['pipe', 'pipe', 'inherit'] })
    const log = lineLog(reader.stdin)
    for (let i = 0; i < 5000; i++) {
      log.write(LINE)
      if (i % 50 === 0) await setImmediate()
    }
    expect(reader.stdin.writableLength).toBeLessThan(1_100_000)
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
    const write = (chunk: string, done: Done) => {
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
    log.write('x'.repeat(2_000_000))
    log.write('dropped')
    await setImmediate()
    expect(writes[4]).toMatch(/^\{[^\n]+"dropped":1\}\nx+\n$/)
  })

  test('is a real pipe whose reader has gone: nothing is thrown, memory stays bounded', async () => {
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
