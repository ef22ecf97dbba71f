import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, truncateSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { beforeEach, describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { emptyFolder } from '../support/folder.ts'
import { needsTerminal } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { killRequest, openRaw } from '../support/raw.ts'
import { BUILT_FILE, health } from '../support/server.ts'
import { targetOf } from '../support/target.ts'
import { startUnread } from '../support/unread.ts'

const SERVER = [process.execPath, BUILT_FILE, '--port', '0']
const REFUSED = killRequest('{"pid":0}', { connection: 'keep-alive' })

/** Sends refused requests, all at once on one connection, and resolves when all of them are answered. */
const flood = async (url: string, count: number) => {
  using connection = await openRaw(url)
  connection.socket.write(Buffer.concat(Array<Buffer>(count).fill(REFUSED)))
  let answers = 0
  for await (const chunk of connection.socket) {
    answers += String(chunk).split('HTTP/1.1 400').length - 1
    if (answers >= count) return
  }
}

const kill = (url: string, pid: number) =>
  fetch(`${url}${KILL_PATH}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ pid }),
  })

/** What the lines of a text say: the requests that were refused, the PIDs killed, the reports of lines dropped. */
const tally = (text: string) => {
  const torn: string[] = []
  const records = text.split('\n').flatMap((line): Record<string, unknown>[] => {
    try {
      return [JSON.parse(line)]
    } catch {
      if (line !== '') torn.push(line)
      return []
    }
  })
  return {
    torn,
    refused: records.filter(({ outcome }) => outcome === 'refused').length,
    killed: records.flatMap(({ outcome, pid }) => (outcome === 'sent' ? [pid] : [])),
    dropped: records.reduce((sum, { dropped = 0 }) => sum + Number(dropped), 0),
  }
}

describe.concurrent.each(['terminal', 'pipe'] as const)('a %s that nobody reads', (kind) => {
  beforeEach(needsTerminal)

  test('holds up no request and no stop', async () => {
    await using server = await startUnread(kind, SERVER)
    await flood(server.url, 6000)
    expect(await health(server.url)).toBe(200)
    const start = performance.now()
    process.kill(server.pid, 'SIGTERM')
    expect(await server.ended).toMatchObject({ code: 0 })
    // It is 5 seconds at most; a busy machine may add to that.
    expect(performance.now() - start).toBeLessThan(8000)
  })

  test('loses no line of a kill to a flood of refusals, and none uncounted', async () => {
    await using server = await startUnread(kind, SERVER)
    await flood(server.url, 6000)
    const pids: number[] = []
    for (let i = 0; i < 20; i++) {
      using target = startSleeper()
      expect(await kill(server.url, target.pid)).toMatchObject({ status: 200 })
      expect(await target.ended).toBe('SIGTERM')
      pids.push(target.pid)
    }
    server.read()
    await server.until(/"dropped":\d+\}\r?\n/)
    process.kill(server.pid, 'SIGTERM')
    const { code, text } = await server.ended
    expect(code).toBe(0)
    const { torn, refused, killed, dropped } = tally(text)
    expect(torn).toEqual([])
    expect(killed).toEqual(pids)
    expect(dropped).toBeGreaterThan(1000)
    expect(refused + dropped).toBe(6000)
  })
})

// A limit on the size of its files is a full disk to a process: a write is cut short there, and the next one fails.
test('a full disk loses no line uncounted, and fuses none', async () => {
  using folder = emptyFolder()
  const path = folder.file('log')
  const file = openSync(path, 'a')
  const child = spawn('sh', ['-c', 'ulimit -f 8; exec "$@"', 'sh', ...SERVER], { stdio: ['ignore', file, 'inherit'] })
  using _server = targetOf(child)
  closeSync(file)
  const text = () => readFileSync(path, 'utf8')
  // A file has no event that is sure to come.
  while (!text().endsWith('\n')) await sleep(5)
  const url = /listening on ([^"]+)/.exec(text())?.[1] ?? ''
  await flood(url, 65)
  await flood(url, 1)
  expect(await health(url)).toBe(200)
  const full = text()
  truncateSync(path)
  await flood(url, 1)
  child.kill('SIGTERM')
  expect(await once(child, 'exit')).toEqual([0, null])
  const { torn, refused, dropped } = tally(`${full}${text()}`)
  // The one that was half written when the disk was full, on a line of its own.
  expect(torn).toEqual([expect.stringMatching(/^\{"time":(?!.*"time")/)])
  expect(refused).toBeGreaterThan(10)
  expect(dropped).toBeGreaterThan(10)
  expect(refused + dropped).toBe(67)
})
