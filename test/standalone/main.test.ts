import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { HELP } from '../../src/standalone/options.ts'
import { emptyFolder } from '../support/folder.ts'
import { describeWith, hasProc, needsLinux, needsTerminal } from '../support/needs.ts'
import { startDeaf, startSleeper, startTarget } from '../support/processes.ts'
import { exchange, killRequest, openRaw, startUnread } from '../support/raw.ts'
import { BUILT_FILE, type RunningServer, runToEnd, startServer, TOKEN } from '../support/server.ts'

const PORT = ['--port', '0']
const withToken = { PSYS_KILL_TOKEN: TOKEN }
const OWN = process.getuid?.() ?? 0

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
  await using server = await startServer({ command: [process.execPath, copy], cwd: folder.file('a b ü') })
  expect(server.stdout()).toMatch(/^\{"time":"[^"]+Z","message":"listening on http:\/\/127\.0\.0\.1:\d+"\}\n$/)
  using target = startSleeper()
  expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200, text: '{"ok":true}' })
  expect(await target.ended).toBe('SIGTERM')
  expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 404, text: '{"error":"Process not found"}' })
  expect(await server.stop()).toBe(0)
  expect(readdirSync(folder.file('a b ü'))).toEqual(['psys-kill.cjs'])
})

describe('a running server', () => {
  let server: RunningServer
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  // Errors that the settings alone cannot tell, and some that they can.
  test.each<[what: string, args: (port: string) => string[], env: Record<string, string>, line: string]>([
    ['its port', (port) => ['--port', port], {}, 'another program listens there; stop it, or listen elsewhere.'],
    ['an address of nobody', () => ['--host', '192.0.2.1'], withToken, 'choose one that `ip address` lists.'],
    ['a name without an address', () => ['--host', 'name.invalid'], withToken, 'choose an address.'],
    ['the token as a host', () => ['--host', TOKEN], withToken, 'Cannot listen on port 3000: '],
    ['the token as an open host', () => ['--host', TOKEN], {}, 'Listening beyond loopback lets the network in'],
    ['a socket without a folder', () => ['--socket', '/no/such/folder/socket'], {}, 'a socket needs a folder that'],
    [
      'a missing file',
      () => ['--token-file', '/no/such\nfile'],
      {},
      'the file of --token-file: ENOENT; check its path and its mode.',
    ],
    [
      'the token as a file',
      () => ['--token-file', TOKEN],
      {},
      'the file of --token-file: ENOENT; check its path and its mode.',
    ],
    ['the token as an argument', () => [TOKEN], {}, 'write each option as --NAME VALUE'],
    ['a misspelt variable', () => [], { PSYS_KILL_TOKE: TOKEN }, 'Unknown variable PSYS_KILL_TOKE.'],
  ])('lets no other start with %s: one line, exit code 1, no token', async (_what, args, env, line) => {
    const { code, stdout, stderr } = await runToEnd(args(new URL(server.url).port), env)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^psys-kill: [^\n]+\.\n$/)
    expect(stderr).toContain(line)
    expect(stderr).not.toContain(TOKEN)
  })

  test('waits as long as waitMs, or until the exit', async () => {
    using target = startSleeper()
    using deaf = await startDeaf()
    const start = performance.now()
    expect(await server.kill({ pid: deaf.pid, waitMs: 100 })).toMatchObject({ text: '{"ok":true,"exited":false}' })
    expect(performance.now() - start).toBeGreaterThan(99)
    expect(await server.kill({ pid: target.pid, waitMs: 60_000 })).toMatchObject({ text: '{"ok":true,"exited":true}' })
    const { id } = await server.record(({ outcome }) => outcome === 'exited')
    const ofTarget = server.records.filter(({ pid }) => pid === target.pid)
    expect(ofTarget).toMatchObject(['sent', 'exited'].map((outcome) => ({ id, outcome, status: 200 })))
  })

  test('writes a record that neither a client nor a process can forge, in ASCII, with the id of the answer', async () => {
    const forgery = '\n{"time":"2026-01-01T00:00:00.000Z","pid":1,"outcome":"sent"}\u2028\u0085\u001b[2K'
    const { headers } = await server.kill({ pid: forgery })
    const record = await server.record(({ id }) => id === headers.get('x-request-id'))
    expect(record).toMatchObject({ pid: forgery.slice(0, 64), outcome: 'refused', status: 400, remote: '127.0.0.1' })
    const odd = { path: '/a%0a%e2%80%a8%c2%85%1b', 'x-request-id': '\x85', 'x-forwarded-for': '\x85' }
    await exchange(server.url, killRequest('{}', odd))
    await server.record(({ forwarded }) => forwarded !== undefined)
    using target = await startTarget('process.title = "a) R\\n{\\"pid\\":"')
    await server.kill({ pid: target.pid })
    const { command } = await server.record(({ pid }) => pid === target.pid)
    if (hasProc) expect(command).toBe('a) R\n{"pid":')
    expect(server.stdout()).toMatch(/^[\n\x20-\x7e]+$/)
  })
})

test.each([
  [[...PORT, '--quiet'], {}],
  [[], { PORT: '0', PSYS_KILL_QUIET: '1' }],
])('no request is on record with %j %j', async (args, env) => {
  await using quiet = await startServer({ args, env })
  await quiet.kill({ pid: 'x' })
  await quiet.stop()
  expect(quiet.stdout()).toMatch(/^\{[^\n]+listening on [^\n]+\}\n(\{[^\n]+stopping on SIGTERM"\}\n)?$/)
})

test('--protect and --only-uid are obeyed', async (context) => {
  needsLinux(context)
  using target = startSleeper()
  using other = startSleeper()
  const start = (uids: string) => startServer({ args: [...PORT, '--protect', `${other.pid}`, '--only-uid', uids] })
  await using ours = await start(`7,${OWN}`)
  await using others = await start(`${OWN + 1}`)
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

test('no token is printed', async () => {
  await using server = await startServer({ env: withToken })
  const authorization = `Bearer ${TOKEN}`
  await server.kill({ pid: 'x' }, { authorization })
  await server.kill({ pid: 'x', token: TOKEN }, { authorization: `${authorization}${TOKEN}`, cookie: TOKEN })
  await exchange(server.url, killRequest('{}', { path: `/api/connections/kill?access_token=${TOKEN}` }))
  await exchange(server.url, `GET / HTTP/1.1\r\nAuthorization: ${authorization}\0\r\n\r\n`)
  await server.record(() => server.records.length === 3)
  await server.stop()
  expect(server.stdout() + server.stderr()).not.toContain(TOKEN)
})

describeWith(['root', 'setpriv'], 'a warning at the start', () => {
  const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
  const OPEN = 'psys-kill: Every local user can now kill whatever this server may kill: set a token, or use --socket.\n'
  const CLEAR = 'psys-kill: The token travels in clear text: use --tls-cert, or a reverse proxy with TLS.\n'
  const READ = 'psys-kill: Every local user may read the file of --token-file; run chmod o-r on it.\n'
  const file = () => folder.file('token')
  beforeAll(() => {
    writeFileSync(file(), TOKEN)
    chmodSync(file(), 0o644)
  })

  test.each<[what: string, before: string[], more: () => string[], env: Record<string, string>, stderr: string]>([
    ['for root without a token', [], () => PORT, {}, OPEN],
    ['for another user', nobody, () => PORT, {}, OPEN],
    ['is not given with a token', [], () => PORT, withToken, ''],
    ['is not given on a socket', [], () => ['--socket', folder.file('socket')], {}, ''],
    ['for a token beyond loopback', [], () => [...PORT, '--host', '0.0.0.0'], withToken, CLEAR],
    ['for a file that all may read', [], () => [...PORT, '--token-file', file()], {}, READ],
  ])('%s', async (_what, before, more, env, stderr) => {
    await using server = await startServer({ command: [...before, process.execPath, copy], args: more(), env })
    expect(server.stderr()).toBe(stderr)
  })
})

const FLOOD = 800
/** Sends refused requests with long records, one after the other. */
const flood = async (url: string, count: number) => {
  const headers = { connection: 'keep-alive', 'x-forwarded-for': '\xfc'.repeat(128) }
  const refused = killRequest(JSON.stringify({ pid: 'x' }), headers)
  using connection = await openRaw(url)
  connection.socket.write(refused)
  let answers = 0
  for await (const chunk of connection.socket) {
    if (!String(chunk).endsWith('}')) continue
    if (++answers === count) return
    connection.socket.write(refused)
  }
}

test.concurrent.for([
  ['terminal', 'is read later'],
  ['terminal', 'nobody reads'],
  ['pipe', 'is read later'],
  ['pipe', 'nobody reads'],
] as const)(
  'a %s that %s holds up neither requests nor a stop, and no record of a kill is lost',
  async ([kind, what], context) => {
    needsTerminal(context)
    await using server = await startUnread(kind, [process.execPath, BUILT_FILE, ...PORT])
    await Promise.all(Array.from({ length: 8 }, () => flood(server.url, FLOOD / 8)))
    const pids: number[] = []
    for (let times = 0; times < 5; times++) {
      using target = startSleeper()
      const answer = await exchange(server.url, killRequest(JSON.stringify({ pid: target.pid })))
      expect(answer).toMatchObject({ status: 200 })
      expect(await target.ended).toBe('SIGTERM')
      pids.push(target.pid)
    }
    if (what === 'is read later') {
      server.read()
      await server.until(/"dropped":\d+\}\r?\n/)
    }
    process.kill(server.pid, 'SIGTERM')
    const { code, text } = await server.ended
    expect(code).toBe(0)
    if (what === 'nobody reads') return
    const records = text
      .trim()
      .split('\n')
      .map((line): Record<string, unknown> => JSON.parse(line))
    const dropped = records.reduce((sum, record) => sum + Number(record['dropped'] ?? 0), 0)
    expect(records.flatMap(({ outcome, pid }) => (outcome === 'sent' ? [pid] : []))).toEqual(pids)
    expect(dropped).toBeGreaterThan(0)
    expect(records.filter(({ outcome }) => outcome === 'refused').length + dropped).toBe(FLOOD)
  },
)

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
