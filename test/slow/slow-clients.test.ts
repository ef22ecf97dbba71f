import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { emptyFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'
import { killRequest, openRaw, type RawConnection, refusesConnections } from '../support/raw.ts'
import { BUILT_FILE, health, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'

/** The resident memory of a process in megabytes. */
const residentMegabytes = (pid: number | undefined) => {
  const [, kilobytes] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kilobytes) / 1024
}

const secondsUntilClosed = async ({ closed }: RawConnection) => {
  const start = performance.now()
  await closed
  return (performance.now() - start) / 1000
}

/** Sends one byte every second until it is cut off. */
const drip = async (connection: RawConnection, text: string) => {
  const gone = connection.closed.then(() => true)
  for (const byte of text) {
    connection.socket.write(byte)
    if (await Promise.race([gone, delay(1000, false)])) return
  }
}

/** Has a server answer, and record, so many requests as fast as it can. */
const sendMany = async (url: string, count: number) => {
  using connection = await openRaw(url)
  let answers = 0
  let rest = ''
  connection.socket.on('data', (chunk) => {
    const bodies = (rest + chunk).split('{"error":"Not Found"}')
    answers += bodies.length - 1
    rest = bodies.at(-1) ?? ''
  })
  for (let sent = 0; sent < count; sent += 100) {
    connection.socket.write('GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(100))
    await vi.waitFor(() => expect(answers).toBe(sent + 100), { interval: 1, timeout: 10_000 })
  }
}

describeWith(['Linux'], 'slow clients', () => {
  test('200 that send a byte a second and 1,000 that send nothing hold up nobody and are dropped', async () => {
    await using server = await startServer()
    using target = await startTarget()
    const before = residentMegabytes(server.child.pid)
    const text = killRequest(JSON.stringify({ pid: target.pid }).padEnd(100)).toString()
    const headEnd = text.indexOf('\r\n\r\n') + 4
    const open = (count: number) => Promise.all(Array.from({ length: count }, () => openRaw(server.url)))
    const slow = { silent: await open(1000), heads: await open(100), bodies: await open(100) }
    for (const connection of slow.heads) drip(connection, text)
    for (const connection of slow.bodies) {
      connection.socket.write(text.slice(0, headEnd))
      drip(connection, text.slice(headEnd))
    }
    let present = 3
    const dropped = async (connections: RawConnection[]) => {
      const seconds = await Promise.all(connections.map(secondsUntilClosed))
      present--
      return { first: Math.min(...seconds), last: Math.max(...seconds) }
    }
    const drops = [dropped(slow.silent), dropped(slow.heads), dropped(slow.bodies)] as const

    let slowest = 0
    let peak = before
    while (present > 0) {
      const start = performance.now()
      expect((await server.kill({})).status).toBe(400)
      slowest = Math.max(slowest, performance.now() - start)
      peak = Math.max(peak, residentMegabytes(server.child.pid))
      await delay(100)
    }
    const [silent, heads, bodies] = await Promise.all(drops)
    expect(slowest).toBeLessThan(1000)
    expect(peak - before).toBeLessThan(100)
    // The head in 5 to 6 seconds, everything in 10 to 11; the rest is for a busy machine.
    for (const { first, last } of [silent, heads]) {
      expect(first).toBeGreaterThan(3)
      expect(last).toBeLessThan(8)
    }
    expect(bodies.first).toBeGreaterThan(8)
    expect(bodies.last).toBeLessThan(13)
    expect(target.isAlive()).toBe(true)
  })

  test('an idle connection is closed after 5 seconds', async () => {
    await using server = await startServer()
    using connection = await openRaw(server.url)
    connection.socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await connection.until(/true\}$/)
    const seconds = await secondsUntilClosed(connection)
    expect(seconds).toBeGreaterThan(4)
    expect(seconds).toBeLessThan(8)
  })

  test('a body without end is cut off soon after its 413, and takes no memory', async () => {
    await using server = await startServer()
    const before = residentMegabytes(server.child.pid)
    using connection = await openRaw(server.url)
    const chunk = `10000\r\n${' '.repeat(65_536)}\r\n`
    const send = () => {
      while (connection.socket.writable && connection.socket.write(chunk));
    }
    connection.socket.on('drain', send)
    connection.socket.write(killRequest('', { 'content-length': '', 'transfer-encoding': 'chunked', connection: '' }))
    send()
    expect(await secondsUntilClosed(connection)).toBeLessThan(5)
    expect(connection.received()).toMatch(/^HTTP\/1\.1 413 /)
    expect(residentMegabytes(server.child.pid) - before).toBeLessThan(100)
  })

  test('a client that reads none of its answers is dropped in the end, and takes little memory until then', async () => {
    await using server = await startServer({ args: ['--port', '0', '--quiet'] })
    const before = residentMegabytes(server.child.pid)
    using connection = await openRaw(server.url)
    connection.socket.pause()
    connection.socket.write('GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(200_000))
    await Promise.race([connection.closed, delay(60_000)])
    expect(residentMegabytes(server.child.pid) - before).toBeLessThan(100)
    expect(connection.socket.destroyed).toBe(true)
    expect(await health(server.url)).toBe(200)
  })
})

describeWith(['Linux'], 'a log that cannot be written', () => {
  const REQUESTS = 20_000
  const WAIT = { timeout: 10_000 }

  test('because its reader stalls: serves on in bounded memory, and tells how many lines it dropped', async () => {
    await using server = await startServer()
    const before = residentMegabytes(server.child.pid)
    server.child.stdout?.pause()
    await sendMany(server.url, REQUESTS)
    expect(residentMegabytes(server.child.pid) - before).toBeLessThan(100)
    expect(await health(server.url)).toBe(200)
    server.child.stdout?.resume()
    // The count goes out with the next line that gets through.
    let markers = 0
    await vi.waitFor(async () => {
      markers++
      const marker = await server.kill({})
      await Promise.race([server.record(({ id }) => id === marker.headers.get('x-request-id')), delay(200)])
      expect(server.records.at(-1)).toMatchObject({ id: marker.headers.get('x-request-id') })
    }, WAIT)
    const dropped = server.records.map((record) => Number(record['dropped'] ?? 0)).reduce((sum, count) => sum + count)
    const written = server.records.filter(({ id }) => id !== undefined).length
    expect(dropped).toBeGreaterThan(0)
    expect(written + dropped).toBe(REQUESTS + markers)
  })

  test('because its reader stalls: stops in time', async () => {
    await using server = await startServer()
    server.child.stdout?.pause()
    await sendMany(server.url, REQUESTS)
    const start = performance.now()
    server.child.kill('SIGTERM')
    const [code] = await once(server.child, 'exit')
    expect(code).toBe(0)
    expect(performance.now() - start).toBeLessThan(5000)
  })

  test('because its reader stalls: is handed over whole at a stop, if the reader comes back', async () => {
    await using server = await startServer()
    server.child.stdout?.pause()
    await sendMany(server.url, 1500)
    server.child.kill('SIGTERM')
    await refusesConnections(server.url)
    server.child.stdout?.resume()
    if (server.child.stdout) await once(server.child.stdout, 'end')
    expect(server.records).toHaveLength(1500)
  })

  test('because its reader has gone: serves on in bounded memory, and stops in time', async () => {
    await using server = await startServer()
    const before = residentMegabytes(server.child.pid)
    server.child.stdout?.destroy()
    await sendMany(server.url, REQUESTS)
    expect(residentMegabytes(server.child.pid) - before).toBeLessThan(100)
    using target = await startTarget()
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
    const start = performance.now()
    server.child.kill('SIGTERM')
    const [code] = await once(server.child, 'exit')
    expect(code).toBe(0)
    expect(performance.now() - start).toBeLessThan(5000)
  })

  /** A file system with room for 128 kB, or undefined where this user may not mount one. */
  const smallDisk = () => {
    const folder = emptyFolder()
    const unmount = () => {
      folder[Symbol.dispose]()
    }
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=128k', 'tmpfs', folder.path], { stdio: 'ignore' })
    } catch {
      unmount()
      return undefined
    }
    return {
      ...folder,
      [Symbol.dispose]: () => {
        execFileSync('umount', [folder.path])
        unmount()
      },
    }
  }

  test('because the disk is full: serves on, and goes on with whole lines when there is room again', async ({
    skip,
  }) => {
    using disk = smallDisk()
    if (!disk) return skip('no file system can be mounted here')
    writeFileSync(disk.file('other'), Buffer.alloc(64 * 1024))
    const file = openSync(disk.file('log'), 'a')
    const child = spawn(process.execPath, [BUILT_FILE, '--port', '0'], { stdio: ['ignore', file, 'ignore'] })
    closeSync(file)
    const log = () => readFileSync(disk.file('log'), 'utf8')
    try {
      const url = await vi.waitFor(() => {
        const [, url] = /listening on (http:[^"]+)/.exec(log()) ?? []
        if (url === undefined) throw new Error('It does not listen yet')
        return url
      }, WAIT)
      const before = residentMegabytes(child.pid)
      await sendMany(url, REQUESTS)
      expect(residentMegabytes(child.pid) - before).toBeLessThan(100)
      using target = await startTarget()
      const response = await fetch(`${url}${KILL_PATH}`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ pid: target.pid }),
      })
      expect(response.status).toBe(200)

      rmSync(disk.file('other'))
      await sendMany(url, 100)
      await vi.waitFor(() => expect(log()).toContain('"dropped":'), WAIT)
      const lines = log().split('\n').filter(Boolean)
      // The kernel cuts one batch off where the disk ends, and says so only at the next.
      expect(lines.filter((line) => !isJson(line)).length).toBeLessThanOrEqual(1)
      const records = lines.filter(isJson).map((line) => JSON.parse(line))
      const written = records.filter(({ id }) => id !== undefined).length
      const dropped = records.map(({ dropped = 0 }) => dropped).reduce((sum, count) => sum + count)
      expect(written + dropped).toBeGreaterThan(REQUESTS)
      expect(written + dropped).toBeLessThanOrEqual(REQUESTS + 100 + 1)
      expect(records.slice(-100).every(({ path }) => path === '/x')).toBe(true)
    } finally {
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
  })
})

const isJson = (line: string) => {
  try {
    JSON.parse(line)
    return true
  } catch {
    return false
  }
}
