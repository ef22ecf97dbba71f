import { once } from 'node:events'
import { copyFileSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { HELP } from '../../src/standalone/options.ts'
import { emptyFolder } from '../support/folder.ts'
import { withoutProc } from '../support/namespace.ts'
import { needsLinux, needsTerminal } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { exchange, killRequest, openRaw, startUnread } from '../support/raw.ts'
import { BUILT_FILE, type RunningServer, runToEnd, startServer, TOKEN } from '../support/server.ts'

const PORT = ['--port', '0']
const withToken = { PSYS_KILL_TOKEN: TOKEN }

/** Stops a server, and resolves when all that it has said was read. */
const stop = async (server: RunningServer) => {
  const closed = once(server.child, 'close')
  expect(await server.stop()).toBe(0)
  await closed
}

test.each([
  ['--help', HELP],
  ['-v', `${packageJson.version}\n`],
])('%s prints to standard output and exits 0', async (flag, stdout) => {
  expect(await runToEnd([flag, '--port', 'wrong'])).toEqual({ code: 0, stdout, stderr: '' })
})

test('the file alone runs in a folder whose path has spaces, kills, and leaves nothing behind', async () => {
  using folder = emptyFolder()
  const [cwd, copy] = [folder.file('a b ü'), folder.file('a b ü/psys-kill.cjs')]
  mkdirSync(cwd)
  copyFileSync(BUILT_FILE, copy)
  await using server = await startServer({ command: [process.execPath, copy], cwd })
  expect(server.stdout()).toMatch(/^\{"time":"[^"]+Z","message":"listening on http:\/\/127\.0\.0\.1:\d+"\}\n$/)
  using target = startSleeper()
  expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200, text: '{"ok":true}' })
  expect(await target.ended).toBe('SIGTERM')
  expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 404, text: '{"error":"Process not found"}' })
  expect(await server.stop()).toBe(0)
  expect(readdirSync(cwd)).toEqual(['psys-kill.cjs'])
})

describe('a running server', () => {
  let server: RunningServer
  beforeAll(async () => {
    server = await startServer()
  })
  afterAll(() => server[Symbol.asyncDispose]())

  // The other errors of settings are tested in settings.test.ts and secrets.test.ts.
  test.each<[what: string, args: (port: string) => string[], env: Record<string, string>, line: string]>([
    ['its port', (port) => ['--port', port], {}, 'another program listens there; stop it, or listen elsewhere.'],
    ['an address of nobody', () => ['--host', '192.0.2.1'], withToken, 'choose one that `ip address` lists.'],
    ['a name without an address', () => ['--host', 'name.invalid'], withToken, '; check --host or --socket.'],
    ['the token as a host', () => ['--host', TOKEN], withToken, 'Cannot listen on port 3000: '],
    [
      'a socket without a folder',
      () => ['--socket', '/no/such/folder/socket'],
      {},
      'a socket needs an existing folder',
    ],
    ['a missing file', () => ['--token-file', '/no/such\nfile'], {}, 'ENOENT; check its path and its mode.'],
  ])('lets no other start with %s: one line, exit code 1, no token', async (_what, args, env, line) => {
    const { code, stdout, stderr } = await runToEnd(args(new URL(server.url).port), env)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^psys-kill: [^\n]+\.\n$/)
    expect(stderr).toContain(line)
    expect(stderr).not.toContain(TOKEN)
  })
})

test('no request is on record with PSYS_KILL_QUIET=1', async () => {
  await using quiet = await startServer({ args: [], env: { PORT: '0', PSYS_KILL_QUIET: '1' } })
  await quiet.kill({ pid: 'x' })
  await stop(quiet)
  expect(quiet.stdout()).toMatch(/^\{[^\n]+listening on [^\n]+\}\n\{[^\n]+stopping on SIGTERM"\}\n$/)
})

test('--protect and --only-uid are obeyed', async (context) => {
  needsLinux(context)
  using target = startSleeper()
  using other = startSleeper()
  const own = process.getuid?.() ?? 0
  await using server = await startServer({ args: [...PORT, '--protect', `${other.pid}`, '--only-uid', `7,${own + 1}`] })
  const reasonOf = async (pid: number) => (await server.kill({ pid })).headers.get('psys-kill-reason')
  expect([await reasonOf(target.pid), await reasonOf(other.pid)]).toEqual(['uid', 'protected'])
  expect([target.isAlive(), other.isAlive()]).toEqual([true, true])
})

// Who may write what into a record is tested in test/server/access-log.test.ts.
test('no token is printed, and nothing but ASCII', async () => {
  await using server = await startServer({ env: withToken })
  const authorization = `Bearer ${TOKEN}`
  await server.kill({ pid: 'x' }, { authorization })
  await server.kill({ pid: 'x', token: TOKEN }, { authorization: `${authorization}${TOKEN}`, cookie: TOKEN })
  await exchange(server.url, killRequest('{}', { path: `/%0a?token=${TOKEN}`, 'x-forwarded-for': '\x85' }))
  await exchange(server.url, `GET / HTTP/1.1\r\nAuthorization: ${authorization}\0\r\n\r\n`)
  await stop(server)
  expect(server.records).toHaveLength(3)
  expect(server.stdout() + server.stderr()).not.toContain(TOKEN)
  expect(server.stdout()).toMatch(/^[\n\x20-\x7e]+$/)
})

const OPEN = 'psys-kill: Every local user can now kill whatever this server may kill: set a token, or use --socket.\n'
const CLEAR = 'psys-kill: The token travels in clear text: use --tls-cert, or a reverse proxy with TLS.\n'
test.each([
  [PORT, {}, OPEN],
  [PORT, withToken, ''],
  [[...PORT, '--host', '0.0.0.0'], withToken, CLEAR],
])('the warning at a start with %j %j is %j', async (args, env, stderr) => {
  await using server = await startServer({ args, env })
  await stop(server)
  expect(server.stderr()).toBe(stderr)
})

test('it warns if it cannot use /proc', async (context) => {
  needsLinux(context)
  await using server = await startServer({ command: [...withoutProc(BUILT_FILE), BUILT_FILE], env: withToken })
  await stop(server)
  expect(server.stderr()).toMatch(/^psys-kill: Cannot use \/proc: [^\n]+\.\n$/)
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

const KINDS = ['terminal', 'pipe'] as const
test.concurrent.for(KINDS.flatMap((kind) => [[kind, 'is read later'] as const, [kind, 'nobody reads'] as const]))(
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

test('the built file has at most 120,000 bytes, and the licence of every package that is in it', () => {
  expect(statSync(BUILT_FILE).size).toBeLessThanOrEqual(120_000)
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
