import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { lineLog } from '../../src/node/log.ts'
import { emptyFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'

/** How many bytes the disk still takes. A full disk takes what it has room for, and fails only the next time. */
const disk = vi.hoisted(() => ({ room: Number.POSITIVE_INFINITY }))

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  const writeSync = (fd: number, bytes: Buffer) => {
    if (disk.room === 0) throw Object.assign(new Error('No space left'), { code: 'ENOSPC' })
    const written = fs.writeSync(fd, bytes, 0, Math.min(bytes.length, disk.room))
    disk.room -= written
    return written
  }
  return { ...fs, writeSync }
})

type Done = (error?: Error | null) => void
const MEBIBYTE = 1024 * 1024

/** A stream that keeps each write, and lets the test say how it ended. */
const recorder = (end: (done: Done, count: number) => unknown = (done) => done()) => {
  const writes: string[] = []
  const write = (text: string, _encoding: 'utf8', done: Done) => {
    writes.push(text)
    end(done, writes.length)
  }
  return { writes, stream: Object.assign(new Writable(), { write }) }
}

/** A stream with this descriptor. Its own `write` fails. */
const withFd = (fd: number): Writable & { fd: number | null } => Object.assign(new Writable(), { fd })

/** How many lines the reports in a text say were dropped. */
const dropped = (text: string) =>
  [...text.matchAll(/^\{"time":"\d{4}-[^"]+Z","dropped":(\d+)\}$/gm)].reduce((sum, [, count]) => sum + Number(count), 0)

/** Writes lines in one turn, and waits until each is written or lost. */
const put = (log: ReturnType<typeof lineLog>, ...lines: string[]) => {
  for (const line of lines) log.write(line, true)
  return log.flush()
}

test('the lines of one turn of the event loop are one write, and an idle log is flushed', async () => {
  const { stream, writes } = recorder()
  const log = lineLog(stream)
  await log.flush()
  log.write('a')
  await Promise.resolve()
  log.write('b')
  expect(writes).toEqual([])
  await log.flush()
  log.write('c')
  await setImmediate()
  expect(writes).toEqual(['a\nb\n', 'c\n'])
})

test('a stream that stalls costs 1 MiB, half of it for lines that are not essential; the rest is counted', async () => {
  const stalled: Done[] = []
  const { stream, writes } = recorder((done, count) => (count === 1 ? stalled.push(done) : done()))
  const log = lineLog(stream)
  log.write('f'.repeat(99_999), true)
  await setImmediate()
  for (const [char, essential] of [['o'], ['e', true], ['o']] as const)
    for (let i = 0; i < 2000; i++) log.write(char.repeat(999), essential)
  const flushed = log.flush().then(() => 'flushed')
  expect(await Promise.race([flushed, setImmediate('waits')])).toBe('waits')
  stalled[0]?.()
  await flushed
  await put(log, 'later')
  const [, waited = '', later] = writes
  const kept = (char: string) => waited.split('\n').filter((line) => line === char.repeat(999)).length
  expect(kept('o')).toBe(Math.floor((MEBIBYTE / 2 - 100_000) / 1000))
  expect(kept('o') + kept('e')).toBe(Math.floor((MEBIBYTE - 100_000) / 1000))
  expect(kept('o') + kept('e') + dropped(waited)).toBe(6000)
  expect(later).toBe('later\n')
  // No line follows this one.
  await put(log, 'x'.repeat(MEBIBYTE + 1))
  expect(dropped(writes[3] ?? '')).toBe(1)
})

test('two flushes at once wait for the same lines, and one write is under way at a time', async () => {
  const under: Done[] = []
  const { stream, writes } = recorder((done) => under.push(done))
  const log = lineLog(stream)
  log.write('a')
  await setImmediate()
  log.write('b')
  const flushed = [log.flush(), log.flush()].map((flush) => flush.then(() => writes.length))
  log.write('c')
  await setImmediate()
  expect(writes).toEqual(['a\n'])
  under.shift()?.()
  await setImmediate()
  expect(await Promise.race([...flushed, setImmediate('waits')])).toBe('waits')
  under.shift()?.()
  expect(await Promise.all(flushed)).toEqual([2, 2])
  expect(writes).toEqual(['a\n', 'b\nc\n'])
})

test.each(['calls back', 'throws'])('if a stream %s with an error, the lost lines are counted', async (how) => {
  const { stream, writes } = recorder((done, count) => {
    if (count > 2) return done()
    if (how === 'throws') throw 'ENOSPC'
    done(new Error('ENOSPC'))
    stream.emit('error', new Error('ENOSPC'))
  })
  const log = lineLog(stream)
  await put(log, 'a', 'b'.repeat(MEBIBYTE - 2))
  for (const line of ['c', 'd', 'e']) await put(log, line)
  expect(writes).toHaveLength(4)
  expect(dropped(writes[2] ?? '')).toBe(3)
  // The stream may have written half a line before it failed.
  expect(writes[2]).toMatch(/^\n\{[^\n]+\}\nd\n$/)
  expect(writes[3]).toBe('e\n')
})

test('a stream gets the lines itself if its write is replaced, as by PM2, or its descriptor is closed', async () => {
  const { stream, writes } = recorder()
  const fd = openSync('/dev/null', 'w')
  const patched = Object.assign(stream, { fd })
  const closed = Object.assign(Object.create(stream), { fd: 1_000_000 })
  for (const each of [patched, closed]) await put(lineLog(each), 'a')
  closeSync(fd)
  expect(writes).toEqual(['a\n', 'a\n'])
})

test('a file gets the lines where others left off, until its stream closes; then its descriptor is not used', async () => {
  using folder = emptyFolder()
  writeFileSync(folder.file('log'), 'something longer')
  const stream = withFd(openSync(folder.file('log'), 'r+'))
  const fd = Number(stream.fd)
  const log = lineLog(stream)
  await put(log, 'one')
  writeSync(fd, Buffer.from('2\n'))
  await put(log, 'three')
  expect(readFileSync(folder.file('log'), 'utf8')).toBe('one\n2\nthree\nnger')
  closeSync(fd)
  expect(openSync(folder.file('other'), 'w')).toBe(fd)
  stream.fd = null
  await put(log, 'a')
  expect(readFileSync(folder.file('other'), 'utf8')).toBe('')
  closeSync(fd)
})

test('a file on a full disk has each line, whole or counted, and half a line on its own', async () => {
  using folder = emptyFolder()
  const lineOf = (i: number) => `<${i}>${'.'.repeat(i)}`
  const isWhole = (line: string) => line === lineOf(Number.parseInt(line.slice(1), 10))
  const attempt = fc.record({ room: fc.nat(70), lines: fc.integer({ min: 1, max: 4 }) })
  const property = fc.asyncProperty(fc.array(attempt, { maxLength: 5 }), async (attempts) => {
    const fd = openSync(folder.file('log'), 'w')
    const log = lineLog(withFd(fd))
    let count = 0
    for (const { room, lines } of [...attempts, { room: Number.POSITIVE_INFINITY, lines: 1 }]) {
      disk.room = room
      for (let i = 0; i < lines; i++) log.write(lineOf(count++))
      await log.flush()
    }
    closeSync(fd)
    const text = readFileSync(folder.file('log'), 'utf8')
    const lines = text.split('\n')
    expect(lines.filter(isWhole).length + dropped(text), text).toBe(count)
    expect(lines.slice(-2), text).toEqual([lineOf(count - 1), ''])
    const torn = lines.filter((line) => !isWhole(line) && !line.endsWith('}'))
    for (const line of torn) expect(line).toMatch(/^(<\d*>?\.*|\{.*)?$/)
  })
  await fc.assert(property, { numRuns: 500 })
})

describeWith(['Linux'], 'on Linux', () => {
  /** Writes lines of 1,000 bytes, 100 in each turn. Exits when they are written, or some milliseconds later. */
  const PROGRAM = `import(process.argv[1]).then(async ({ lineLog }) => {
    const [, , lines, ms] = process.argv.map(Number)
    const log = lineLog(process.stdout)
    for (let i = 0; i < lines; i++) {
      log.write(String(i).padEnd(999, '.'), true)
      if (i % 100 === 99) await new Promise(setImmediate)
    }
    setTimeout(() => process.exit(7), ms)
    await log.flush()
    process.exit(7)
  })`
  const LIB = new URL('../../build/dist/lib/node/index.js', import.meta.url).href
  const start = (shell: string, lines: number, ms: number, cwd = '/') => {
    const command = [process.execPath, '-e', PROGRAM, LIB, String(lines), String(ms)]
    return spawn('sh', ['-c', shell, 'sh', ...command], { stdio: ['ignore', 'pipe', 'inherit'], cwd })
  }

  test('a pipe that is full gets the rest, in order and complete, when somebody reads', async () => {
    const child = start('"$@" | cat', 1000, 60_000)
    const lines = Array.from({ length: 1000 }, (_, i) => `${String(i).padEnd(999, '.')}\n`)
    expect(await text(child.stdout)).toBe(lines.join(''))
  })

  test.each([
    ['a pipe that nobody reads', 'mkfifo pipe; exec 3<>pipe; exec "$@" >pipe'],
    ['a socket that nobody reads', 'exec "$@"'],
    ['a pipe without a reader', 'mkfifo pipe; exec 3<>pipe 4>pipe 3>&-; exec "$@" >&4'],
    ['a full device', 'exec "$@" >/dev/full'],
    ['a file that can take no more', 'ulimit -f 8; exec "$@" >log'],
  ])('%s neither ends nor holds up a process that writes more than it takes', async (_, shell) => {
    using folder = emptyFolder()
    const child = start(shell, 10_000, 20, folder.path)
    expect(await once(child, 'exit')).toEqual([7, null])
    child.stdout.destroy()
  })
})
