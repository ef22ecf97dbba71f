import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { HELP } from '../../src/standalone/options.ts'
import { emptyFolder } from '../support/folder.ts'
import { describeWith, needsLinux, needsTerminal } from '../support/needs.ts'
import { startDeaf, startSleeper } from '../support/processes.ts'
import { exchange, killRequest, openRaw } from '../support/raw.ts'
import { runToEnd } from '../support/run.ts'
import { BUILT_FILE, health, type RunningServer, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'
import { startUnread } from '../support/unread.ts'

const PORT = ['--port', '0']
const NOBODY = 65_534
const own = process.getuid?.() ?? 0

let folder: ReturnType<typeof emptyFolder>
/** The built file in a folder of its own, which every user may read. */
let copy: string
beforeAll(() => {
  folder = emptyFolder()
  chmodSync(folder.path, 0o755)
  mkdirSync(folder.file('a b ü'))
  copy = folder.file('a b ü/psys-kill.cjs')
  copyFileSync(BUILT_FILE, copy)
})
afterAll(() => folder[Symbol.dispose]())

test.each([
  ['--help', HELP],
  ['-h', HELP],
  ['--version', `${packageJson.version}\n`],
  ['-v', `${packageJson.version}\n`],
])('%s prints to standard output and exits 0', async (flag, stdout) => {
  expect(await runToEnd([flag, '--port', 'wrong'])).toEqual({ code: 0, stdout, stderr: '' })
})

test('the file alone runs in a folder whose path has spaces, kills, and leaves nothing behind', async () => {
  const { url, ...server } = await startServer({ command: [process.execPath, copy], cwd: folder.file('a b ü') })
  expect(server.stdout()).toMatch(/^\{"time":"[^"]+Z","message":"listening on http:\/\/127\.0\.0\.1:\d+"\}\n$/)
  using target = startSleeper()
  expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200, text: '{"ok":true}' })
  expect(await target.ended).toBe('SIGTERM')
  expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 404, text: '{"error":"Process not found"}' })
  expect(await server.stop()).toBe(0)
  expect(readdirSync(folder.file('a b ü'))).toEqual(['psys-kill.cjs'])
})

describe('an error at the start is one line, with exit code 1, and repeats no token:', () => {
  let taken: RunningServer
  beforeAll(async () => {
    taken = await startServer()
  })
  afterAll(() => taken[Symbol.asyncDispose]())

  const withToken = { PSYS_KILL_TOKEN: TOKEN }
  test.each<[what: string, args: () => string[], env: Record<string, string>, line: string]>([
    [
      'a taken port',
      () => ['--port', new URL(taken.url).port],
      {},
      'another program listens there; stop it, or listen elsewhere.',
    ],
    [
      'the address of another machine',
      () => ['--host', '192.0.2.1', ...PORT],
      withToken,
      'choose one that `ip address` lists.',
    ],
    ['a name without an address', () => ['--host', 'name.invalid', ...PORT], withToken, 'choose an address.'],
    ['the token as a host', () => ['--host', TOKEN, ...PORT], withToken, 'Cannot listen on the given host:0: '],
    ['the token as an open host', () => ['--host', TOKEN], {}, 'Listening on the given host lets the network in'],
    ['a socket without a folder', () => ['--socket', '/no/such/folder/socket'], {}, 'its folder must exist'],
    [
      'a file that is missing',
      () => ['--token-file', '/no/such\nfile'],
      {},
      'Cannot read the token file /no/such file: ENOENT.',
    ],
    ['the token as a file', () => ['--token-file', TOKEN], {}, '(its path is not shown)'],
    ['the token as an argument', () => [TOKEN], {}, 'put --NAME before each value'],
    ['a variable', () => [], { PSYS_KILL_TOKE: TOKEN }, 'Unknown variable PSYS_KILL_TOKE.'],
  ])('%s', async (_what, args, env, line) => {
    const { code, stdout, stderr } = await runToEnd(args(), env)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^psys-kill: [^\n]+\.\n$/)
    expect(stderr).toContain(line)
    expect(stderr).not.toContain(TOKEN)
  })
})

describeWith(['root', 'setpriv'], 'a warning at the start', () => {
  const unprivileged = ['setpriv', `--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups']
  const open = (whose: string) => `psys-kill: Every local user can now kill ${whose}: set a token, or use --socket.\n`
  const token = { PSYS_KILL_TOKEN: TOKEN }
  const CLEAR = 'psys-kill: The token travels in clear text: use --tls-cert, or a reverse proxy with TLS.\n'
  beforeAll(() => {
    writeFileSync(folder.file('token'), TOKEN)
    chmodSync(folder.file('token'), 0o644)
  })

  test.each<[what: string, before: string[], args: () => string[], env: Record<string, string>, stderr: () => string]>([
    ['by root without a token', [], () => PORT, {}, () => open('any process')],
    ['by another user', unprivileged, () => PORT, {}, () => open('any of your processes')],
    [
      'by one with CAP_KILL',
      [...unprivileged, '--inh-caps=+kill', '--ambient-caps=+kill'],
      () => PORT,
      {},
      () => open('any process'),
    ],
    [
      'by root without CAP_KILL',
      ['setpriv', '--bounding-set=-kill', '--inh-caps=-kill'],
      () => PORT,
      {},
      () => open('any of your processes'),
    ],
    ['with a token: none', [], () => PORT, token, () => ''],
    ['on a socket: none', [], () => ['--socket', folder.file('socket')], {}, () => ''],
    ['beyond loopback', [], () => [...PORT, '--host', '0.0.0.0'], token, () => CLEAR],
    [
      'of a file that all may read',
      [],
      () => [...PORT, '--token-file', folder.file('token')],
      {},
      () => `psys-kill: Every local user may read the token file ${folder.file('token')}; run chmod o-r on it.\n`,
    ],
  ])('%s', async (_what, before, args, env, stderr) => {
    await using server = await startServer({ command: [...before, process.execPath, copy], args: args(), env })
    expect(server.stderr()).toBe(stderr())
  })
})

describe('a running server', () => {
  let server: RunningServer
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  test('waits as long as waitMs, or until the exit', async () => {
    using target = startSleeper()
    using deaf = await startDeaf()
    const start = performance.now()
    expect(await server.kill({ pid: deaf.pid, waitMs: 100 })).toMatchObject({ text: '{"ok":true,"exited":false}' })
    expect(performance.now() - start).toBeGreaterThan(99)
    expect(await server.kill({ pid: target.pid, waitMs: 60_000 })).toMatchObject({ text: '{"ok":true,"exited":true}' })
    const ended = await server.record(({ outcome }) => outcome === 'exited')
    const ids = server.records.filter(({ pid }) => pid === target.pid).map(({ id, outcome }) => [id, outcome])
    expect(ids).toEqual([
      [ended['id'], 'sent'],
      [ended['id'], 'exited'],
    ])
  })

  test('writes a record that no client can forge, in ASCII, with the id of the answer', async () => {
    const forgery = '\n{"time":"2026-01-01T00:00:00.000Z","pid":1,"outcome":"sent"}\u2028\u0085\u001b[2K'
    const { headers } = await server.kill({ pid: forgery })
    const record = await server.record(({ id }) => id === headers.get('x-request-id'))
    expect(record).toMatchObject({ pid: forgery.slice(0, 64), outcome: 'refused', status: 400, remote: '127.0.0.1' })
    const path = '/a%0a%e2%80%a8%c2%85%1b'
    await exchange(server.url, killRequest('{}', { path, 'x-request-id': '\x85', 'x-forwarded-for': '\x85' }))
    await server.record(({ forwarded }) => forwarded !== undefined)
    expect(server.stdout()).toMatch(/^[\n\x20-\x7e]+$/)
  })

  test('writes a record that no process can forge by its name', async (context) => {
    needsLinux(context)
    using target = await startTarget('process.title = "a) R\\n{\\"pid\\":"')
    expect((await server.kill({ pid: target.pid })).status).toBe(200)
    const record = await server.record(({ pid }) => pid === target.pid)
    expect(record).toMatchObject({ command: 'a) R\n{"pid":', outcome: 'sent' })
  })

  test.each([
    [[...PORT, '--quiet'], {}],
    [[], { PORT: '0', PSYS_KILL_QUIET: '1' }],
  ])('writes none with %j %j', async (args, env) => {
    await using quiet = await startServer({ args, env })
    await quiet.kill({ pid: 'x' })
    await quiet.stop()
    expect(quiet.stdout()).toMatch(/^\{[^\n]+listening on [^\n]+\}\n(\{[^\n]+stopping on SIGTERM"\}\n)?$/)
  })

  test('never signals what --protect names, nor others than --only-uid', async (context) => {
    needsLinux(context)
    using target = startSleeper()
    using other = startSleeper()
    const args = ['--protect', `${other.pid}`]
    await using ours = await startServer({ args: [...PORT, ...args, '--only-uid', `7,${own}`] })
    await using others = await startServer({ args: [...PORT, ...args, '--only-uid', `${own + 1}`] })
    const reasonOf = async (server: RunningServer, pid: number) => {
      const { status, headers } = await server.kill({ pid })
      return `${status} ${headers.get('psys-kill-reason')}`
    }
    expect(await reasonOf(others, target.pid)).toBe('403 uid')
    for (const each of [ours, others]) expect(await reasonOf(each, other.pid)).toBe('403 protected')
    expect(target.isAlive()).toBe(true)
    expect(await ours.kill({ pid: target.pid })).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
    expect(other.isAlive()).toBe(true)
  })

  test('prints no token', async () => {
    await using server = await startServer({ env: { PSYS_KILL_TOKEN: TOKEN } })
    const authorization = `Bearer ${TOKEN}`
    await server.kill({ pid: 'x' }, { authorization })
    await server.kill({ pid: 'x' }, { authorization: `Basic ${TOKEN}` })
    await server.kill({ pid: 'x', token: TOKEN }, { authorization: `${authorization}${TOKEN}`, cookie: TOKEN })
    await exchange(server.url, killRequest('{}', { path: `/api/connections/kill?access_token=${TOKEN}` }))
    await exchange(server.url, `GET / HTTP/1.1\r\nAuthorization: ${authorization}\0\r\n\r\n`)
    await server.record(() => server.records.length === 4)
    await server.stop()
    expect(server.stdout() + server.stderr()).not.toContain(TOKEN)
  })
})

describe.concurrent.each(['terminal', 'pipe'] as const)('a %s that nobody reads', (kind) => {
  beforeEach(needsTerminal)
  const FLOOD = 1000
  /** A refused request with as long a record as there is. */
  const refused = killRequest(JSON.stringify({ pid: 'ü'.repeat(64) }), {
    connection: 'keep-alive',
    'x-forwarded-for': '\xfc'.repeat(128),
  })

  const flood = async (url: string) => {
    using connection = await openRaw(url)
    connection.socket.write(refused)
    let answers = 0
    for await (const chunk of connection.socket) {
      if (!String(chunk).endsWith('}')) continue
      if (++answers === FLOOD) return
      connection.socket.write(refused)
    }
  }

  test('holds up neither requests nor a stop', async () => {
    await using server = await startUnread(kind, [process.execPath, BUILT_FILE, ...PORT])
    await flood(server.url)
    expect(await health(server.url)).toBe(200)
    process.kill(server.pid, 'SIGTERM')
    expect(await server.ended).toMatchObject({ code: 0 })
  })

  test('loses no record of a kill to refusals, and counts those that it drops', async () => {
    await using server = await startUnread(kind, [process.execPath, BUILT_FILE, ...PORT])
    await flood(server.url)
    const pids: number[] = []
    for (let times = 0; times < 5; times++) {
      using target = startSleeper()
      const answer = await exchange(server.url, killRequest(JSON.stringify({ pid: target.pid })))
      expect(answer).toMatchObject({ status: 200 })
      expect(await target.ended).toBe('SIGTERM')
      pids.push(target.pid)
    }
    server.read()
    await server.until(/"dropped":\d+\}\r?\n/)
    process.kill(server.pid, 'SIGTERM')
    const { code, text } = await server.ended
    expect(code).toBe(0)
    const records = text
      .trim()
      .split('\n')
      .map((line): Record<string, unknown> => JSON.parse(line))
    const killed = records.filter(({ outcome }) => outcome === 'sent').map(({ pid }) => pid)
    const dropped = records.reduce((sum, record) => sum + Number(record['dropped'] ?? 0), 0)
    expect(killed).toEqual(pids)
    expect(dropped).toBeGreaterThan(0)
    expect(records.filter(({ outcome }) => outcome === 'refused').length + dropped).toBe(FLOOD)
  })
})

describe('the built file', () => {
  test('has at most 120,000 bytes', () => {
    expect(statSync(BUILT_FILE).size).toBeLessThanOrEqual(120_000)
  })

  test('contains the licence of every package that is in it', () => {
    const { sources }: { sources: string[] } = JSON.parse(readFileSync(`${BUILT_FILE}.map`, 'utf8'))
    const packages = new Set(sources.flatMap((source) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(source)?.[1] ?? []))
    expect(packages.size).toBeGreaterThan(3)
    const text = readFileSync(BUILT_FILE, 'utf8')
    for (const name of packages) {
      const { version } = JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8'))
      expect(text).toMatch(new RegExp(`^${name} ${version}, Copyright .+`, 'm'))
    }
    expect(text).toContain('Permission is hereby granted, free of charge')
    expect(text).toContain('The above copyright notice and this permission notice shall be included')
  })
})
