import { execFileSync } from 'node:child_process'
import { closeSync, constants, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs'
import { Writable } from 'node:stream'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { lineLog } from '../../src/node/line-log.ts'
import { dropped } from '../support/dropped.ts'
import { emptyFolder } from '../support/folder.ts'
import { describeWith, needsLinux } from '../support/needs.ts'

/** How many bytes the disk still takes, and how long each write was. */
const disk = vi.hoisted(() => ({ room: Number.POSITIVE_INFINITY, writes: [] as number[] }))

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  return {
    ...fs,
    // A full disk takes what it has room for, and fails only the next time.
    writeSync: (fd: number, bytes: Buffer, from: number, length: number) => {
      if (disk.room === 0) throw Object.assign(new Error('No space left'), { code: 'ENOSPC' })
      const written = fs.writeSync(fd, bytes, from, Math.min(length, disk.room))
      disk.room -= written
      disk.writes.push(written)
      return written
    },
  }
})

afterEach(() => {
  disk.room = Number.POSITIVE_INFINITY
  disk.writes.length = 0
})

/** A stream with this descriptor; to write to itself would fail. */
const withFd = (fd: number) => Object.assign(new Writable(), { fd })

/** An empty named pipe, both its ends, and all that can be read of it now. */
const namedPipe = () => {
  const folder = emptyFolder()
  const path = folder.file('pipe')
  execFileSync('mkfifo', [path])
  const openReader = () => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  let reader = openReader()
  const writer = openSync(path, 'w')
  const bytes = Buffer.alloc(1 << 17)
  return {
    writer,
    read: () => {
      try {
        return bytes.toString('utf8', 0, readSync(reader, bytes))
      } catch {
        return ''
      }
    },
    leave: () => closeSync(reader),
    comeBack: () => {
      reader = openReader()
    },
    [Symbol.dispose]: () => {
      closeSync(writer)
      folder[Symbol.dispose]()
    },
  }
}

describe('a file', () => {
  test('has the lines where the others who write to it left off', async () => {
    using folder = emptyFolder()
    const path = folder.file('log')
    writeFileSync(path, 'something longer')
    const fd = openSync(path, 'r+')
    const log = lineLog(withFd(fd))
    log.write('one')
    await log.flush()
    writeSync(fd, Buffer.from('2\n'), 0, 2)
    log.write('three')
    await log.flush()
    expect(readFileSync(path, 'utf8')).toBe('one\n2\nthree\nnger')
    closeSync(fd)
  })

  test('whose stream has closed is not written to, nor what has its descriptor now', async () => {
    using folder = emptyFolder()
    const stream: { fd: number | null } & Writable = Object.assign(new Writable(), {
      fd: openSync(folder.file('log'), 'w'),
    })
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

  test('on a disk that is full after any byte has each line whole or counted, and half a line on its own', async () => {
    using folder = emptyFolder()
    const path = folder.file('log')
    const ALL = ['a', 'bb', 'ccc', 'dddd', 'eeeee']
    for (let first = 0; first <= 9; first++) {
      for (let second = 0; second <= 60; second++) {
        const fd = openSync(path, 'w')
        const log = lineLog(withFd(fd))
        disk.room = first
        for (const line of ALL.slice(0, 3)) log.write(line)
        await log.flush()
        disk.room = second
        log.write('dddd')
        await log.flush()
        disk.room = Number.POSITIVE_INFINITY
        log.write('eeeee')
        await log.flush()
        closeSync(fd)
        const text = readFileSync(path, 'utf8')
        const lines = text.trimEnd().split('\n')
        const torn = lines.filter((line) => !ALL.includes(line) && !line.endsWith('}'))
        for (const line of torn) expect(line).toMatch(/^(b|cc?|d{1,3}|\{"?t?.*)$/)
        const whole = lines.filter((line) => ALL.includes(line))
        expect(whole.length + dropped(text), text).toBe(5)
        expect(text).toMatch(/^(?!\n).*eeeee\n$/s)
        expect(text).not.toContain('\n\n')
      }
    }
  })
})

describeWith(['Linux'], 'a pipe', () => {
  test('gets whole lines, at most 4,096 bytes at once, and a longer line as it is', async () => {
    using pipe = namedPipe()
    const log = lineLog(withFd(pipe.writer))
    const lines = [...Array.from({ length: 100 }, (_, i) => `${i} ${'x'.repeat(i)}`), 'y'.repeat(10_000), 'z']
    for (const line of lines) log.write(line)
    await log.flush()
    expect(pipe.read()).toBe(`${lines.join('\n')}\n`)
    expect(disk.writes.filter((length) => length > 4096)).toEqual([10_001])
  })

  test('that is full is tried again: what waited comes in order, and no half line before that', async () => {
    using pipe = namedPipe()
    const log = lineLog(withFd(pipe.writer))
    for (let i = 0; i < 1000; i++) log.write(`${i}`.padEnd(299, '.'))
    await new Promise(setImmediate)
    let text = pipe.read()
    expect(text).toMatch(/\.\n$/)
    expect(text.length).toBeGreaterThan(40_000)
    const flush = log.flush()
    const reading = setInterval(() => {
      text += pipe.read()
    }, 1)
    await flush
    clearInterval(reading)
    text += pipe.read()
    expect(text.trimEnd().split('\n').map(Number.parseFloat)).toEqual(Array.from({ length: 1000 }, (_, i) => i))
  })

  test('whose reader leaves costs the lines until another one comes, which is told how many', async () => {
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
    expect(text).toMatch(/^\{[^\n]+\}\nfound\n$/)
  })
})

test('a device that is full loses lines and throws nothing', async (context) => {
  needsLinux(context)
  const log = lineLog(withFd(openSync('/dev/full', 'w')))
  log.write('a')
  await log.flush()
})

test('a descriptor that is none leaves the stream', async () => {
  const writes: string[] = []
  const stream = new Writable({
    write: (chunk, _encoding, done) => {
      writes.push(String(chunk))
      done()
    },
  })
  const log = lineLog(Object.assign(stream, { fd: 1_000_000 }))
  log.write('a')
  await log.flush()
  expect(writes).toEqual(['a\n'])
})
