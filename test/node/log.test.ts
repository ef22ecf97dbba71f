import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { lineLog } from '../../src/node/log.ts'
import { dropped } from '../support/dropped.ts'
import { emptyFolder } from '../support/folder.ts'
import { inTime } from '../support/in-time.ts'
import { describeWith } from '../support/needs.ts'

/** How many bytes the disk still takes. A full disk takes what it has room for, and fails only the next time. */
const disk = vi.hoisted(() => ({ room: Number.POSITIVE_INFINITY }))

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  return {
    ...fs,
    writeSync: (fd: number, bytes: Buffer) => {
      if (disk.room === 0) throw Object.assign(new Error('No space left'), { code: 'ENOSPC' })
      const written = fs.writeSync(fd, bytes, 0, Math.min(bytes.length, disk.room))
      disk.room -= written
      return written
    },
  }
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

describe('a stream that stalls', () => {
  /** A log that is writing its first line, until `resume`. */
  const stalled = async (first: string) => {
    const stopped: Done[] = []
    const { stream, writes } = recorder((done, count) => (count === 1 ? stopped.push(done) : done()))
    const log = lineLog(stream)
    log.write(first, true)
    await setImmediate()
    return { log, writes, resume: () => stopped[0]?.() }
  }

  test('costs at most 1 MiB, half of it for lines that are not essential; the rest is dropped and counted', async () => {
    const { log, writes, resume } = await stalled('f'.repeat(99_999))
    for (const essential of [false, true, false])
      for (let i = 0; i < 2000; i++) {
        log.write(`${essential ? 'e' : 'o'}`.repeat(999), essential)
        if (i % 100 === 0) await setImmediate()
      }
    expect(writes).toHaveLength(1)
    let isFlushed = false
    const flushed = log.flush().then(() => {
      isFlushed = true
    })
    await setImmediate()
    expect(isFlushed).toBe(false)
    resume()
    await flushed
    log.write('later')
    await log.flush()
    const [, waited = '', later] = writes
    const kept = (char: string) => waited.split('\n').filter((line) => line === char.repeat(999)).length
    expect(kept('o')).toBe(Math.floor((MEBIBYTE / 2 - 100_000) / 1000))
    expect(kept('o') + kept('e')).toBe(Math.floor((MEBIBYTE - 100_000) / 1000))
    expect(kept('o') + kept('e') + dropped(waited)).toBe(6000)
    expect(later).toBe('later\n')
  })

  test('is told of what was dropped as soon as it goes on, also if no line follows', async () => {
    const { log, writes, resume } = await stalled('f'.repeat(MEBIBYTE - 1))
    log.write('dropped', true)
    resume()
    await log.flush()
    expect(dropped(writes[1] ?? '')).toBe(1)
    log.write('f'.repeat(MEBIBYTE + 1), true)
    await log.flush()
    expect(writes).toHaveLength(3)
    expect(dropped(writes[2] ?? '')).toBe(1)
  })
})

test.each<[how: string, fail: (done: Done) => void]>([
  ['its callback', (done) => done(new Error('ENOSPC'))],
  [
    'throwing no Error',
    () => {
      throw 'ENOSPC'
    },
  ],
])('if a stream fails by %s, the lost lines are counted, and the report begins a line', async (_, fail) => {
  const { stream, writes } = recorder((done, count) => (count <= 2 ? fail(done) : done()))
  const log = lineLog(stream)
  for (const lines of [['a', 'b'], ['c'], ['d'], ['e']]) {
    for (const line of lines) log.write(line)
    await log.flush()
  }
  expect(writes).toHaveLength(4)
  expect(dropped(writes[2] ?? '')).toBe(3)
  // The stream may have written half a line before it failed.
  expect(writes[2]).toMatch(/^\n\{[^\n]+\}\nd\n$/)
  expect(writes[3]).toBe('e\n')
})

test('an error event of the stream ends nothing', () => {
  const { stream } = recorder()
  lineLog(stream)
  stream.emit('error', new Error('EPIPE'))
})

test.each([
  ['whose write somebody has replaced, as PM2 does', '/dev/null'],
  ['whose descriptor is closed', undefined],
])('a stream %s gets the lines itself', async (_, path) => {
  const { stream, writes } = recorder()
  const log = lineLog(Object.assign(stream, { fd: path === undefined ? 1_000_000 : openSync(path, 'w') }))
  log.write('a')
  await log.flush()
  expect(writes).toEqual(['a\n'])
})

describe('a file', () => {
  test('gets the lines where others left off', async () => {
    using folder = emptyFolder()
    const path = folder.file('log')
    writeFileSync(path, 'something longer')
    const fd = openSync(path, 'r+')
    const log = lineLog(withFd(fd))
    log.write('one')
    await log.flush()
    writeSync(fd, Buffer.from('2\n'))
    log.write('three')
    await log.flush()
    expect(readFileSync(path, 'utf8')).toBe('one\n2\nthree\nnger')
    closeSync(fd)
  })

  test('whose stream has closed is not written to, nor another file that has its descriptor now', async () => {
    using folder = emptyFolder()
    const stream = withFd(openSync(folder.file('log'), 'w'))
    const log = lineLog(stream)
    closeSync(Number(stream.fd))
    const other = openSync(folder.file('other'), 'w')
    expect(other).toBe(stream.fd)
    stream.fd = null
    log.write('a')
    await log.flush()
    expect(readFileSync(folder.file('other'), 'utf8')).toBe('')
    closeSync(other)
  })

  test('on a disk that is full after any byte has each line, whole or counted, and half a line on its own', async () => {
    using folder = emptyFolder()
    const path = folder.file('log')
    const lineOf = (i: number) => `<${i}>${'.'.repeat(i)}`
    const isWhole = (line: string) => line === lineOf(Number.parseInt(line.slice(1), 10))
    const attempt = fc.record({ room: fc.nat(70), lines: fc.integer({ min: 1, max: 4 }) })
    const property = fc.asyncProperty(fc.array(attempt, { maxLength: 5 }), async (attempts) => {
      const fd = openSync(path, 'w')
      const log = lineLog(withFd(fd))
      let count = 0
      for (const { room, lines } of [...attempts, { room: Number.POSITIVE_INFINITY, lines: 1 }]) {
        disk.room = room
        for (let i = 0; i < lines; i++) log.write(lineOf(count++))
        await log.flush()
      }
      closeSync(fd)
      const text = readFileSync(path, 'utf8')
      const lines = text.split('\n')
      expect(lines.filter(isWhole).length + dropped(text), text).toBe(count)
      expect(text.endsWith(`\n${lineOf(count - 1)}\n`) || text === `${lineOf(0)}\n`, text).toBe(true)
      const torn = lines.filter((line) => !isWhole(line) && !line.endsWith('}'))
      for (const line of torn) expect(line).toMatch(/^(<\d*>?\.*|\{.*)?$/)
    })
    await fc.assert(property, { numRuns: 500 })
  })
})

/** A named pipe with a reader that does not block. */
const namedPipe = () => {
  const folder = emptyFolder()
  const path = folder.file('pipe')
  execFileSync('mkfifo', [path])
  const open = (path: string) => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  let reader = open(path)
  const readFrom = (path: string) => {
    closeSync(reader)
    reader = open(path)
  }
  const writer = openSync(path, 'w')
  const bytes = Buffer.alloc(1 << 17)
  return {
    writer,
    /** All that can be read at once: '' if the pipe is empty. */
    read: () => {
      try {
        return bytes.toString('utf8', 0, readSync(reader, bytes))
      } catch {
        return ''
      }
    },
    leave: () => readFrom('/dev/null'),
    comeBack: () => readFrom(path),
    [Symbol.dispose]: () => {
      for (const fd of [writer, reader]) closeSync(fd)
      folder[Symbol.dispose]()
    },
  }
}

describeWith(['Linux'], 'on Linux', () => {
  test('a pipe that is full gets the rest, in order and complete, when somebody reads', async () => {
    using pipe = namedPipe()
    const log = lineLog(withFd(pipe.writer))
    const lines = Array.from({ length: 1000 }, (_, i) => `${i}`.padEnd(299, '.'))
    for (const line of lines) log.write(line)
    // The first write fills the pipe, and returns.
    await setImmediate()
    let text = pipe.read()
    expect(text.length).toBeGreaterThan(40_000)
    while (text.length < 300_000) {
      await setImmediate()
      text += pipe.read()
    }
    await log.flush()
    expect(text).toBe(`${lines.join('\n')}\n`)
  })

  test('a pipe without a reader costs the lines; the next reader is told how many', async () => {
    using pipe = namedPipe()
    const log = lineLog(withFd(pipe.writer))
    pipe.leave()
    for (let i = 0; i < 10; i++) {
      log.write('lost')
      await log.flush()
    }
    pipe.comeBack()
    log.write('found')
    await log.flush()
    const text = pipe.read()
    expect(dropped(text)).toBe(10)
    expect(text).toMatch(/^\n\{[^\n]+\}\nfound\n$/)
  })

  /** Writes 10 MB in 100 turns, and leaves with a code of its own. */
  const PROGRAM = `import(process.argv[1]).then(async ({ lineLog }) => {
    const log = lineLog(process.stdout)
    for (let turn = 0; turn < 100; turn++) {
      for (let i = 0; i < 100; i++) log.write('x'.repeat(999), true)
      await new Promise(setImmediate)
    }
    setTimeout(() => process.exit(7), 20)
  })`
  const LIB = new URL('../../build/dist/lib/node/index.js', import.meta.url).href
  const NODE = [process.execPath, '-e', PROGRAM, LIB]

  test.each<
    [output: string, stdout: (pipe: ReturnType<typeof namedPipe>, path: string) => number | 'pipe', command?: string[]]
  >([
    ['a pipe that nobody reads', ({ writer }) => writer],
    ['a socket that nobody reads', () => 'pipe'],
    ['a pipe without a reader', ({ leave, writer }) => leave() ?? writer],
    ['a full device', () => openSync('/dev/full', 'w')],
    ['a file that can take no more', (_, path) => openSync(path, 'w'), ['sh', '-c', 'ulimit -f 8; exec "$@"', 'sh']],
  ])('%s neither ends nor holds up a process that writes more than it takes', async (_, stdoutOf, command = []) => {
    using pipe = namedPipe()
    using folder = emptyFolder()
    const [file = '', ...args] = [...command, ...NODE]
    const stdout = stdoutOf(pipe, folder.file('log'))
    const child = spawn(file, args, { stdio: ['ignore', stdout, 'inherit'] })
    if (typeof stdout === 'number' && stdout !== pipe.writer) closeSync(stdout)
    child.stdout?.pause()
    const [code] = await inTime('its exit', once(child, 'exit'), () => 'It still runs')
    expect(code).toBe(7)
  })
})
