import { copyFileSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { emptyFolder } from '../support/folder.ts'
import { needsIPv6 } from '../support/needs.ts'
import { exchange, killRequest } from '../support/raw.ts'
import { runToEnd } from '../support/run.ts'
import { BUILT_FILE, health, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'

const INVALID = { status: 400, body: '{"error":"Invalid pid"}' }
const TOO_LARGE = { status: 413, body: '{"error":"Payload Too Large"}' }

describe.concurrent('starting', () => {
  test('the file alone in an empty folder serves, kills, and leaves nothing behind', async () => {
    using folder = emptyFolder()
    copyFileSync(BUILT_FILE, folder.file('psys-kill.cjs'))
    await using server = await startServer({ command: [process.execPath, 'psys-kill.cjs'], cwd: folder.path })
    using target = await startTarget()
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200, text: '{"ok":true}' })
    expect(await target.ended).toBe('SIGTERM')
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 404, text: '{"error":"Process not found"}' })
    expect(await server.kill({ pid: '1e3' })).toMatchObject({ status: 400 })
    expect(await server.stop()).toBe(0)
    expect(readdirSync(folder.path)).toEqual(['psys-kill.cjs'])
  })

  test('says in one line where it listens: a free port of 127.0.0.1 for port 0', async () => {
    await using server = await startServer()
    expect(server.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/)
    expect(server.stdout().trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^\{"time":"[^"]+Z","message":"listening on http:\/\/127\.0\.0\.1:\d+"\}$/),
    ])
    expect(await health(server.url)).toBe(200)
  })

  test('a port that is taken is one line and exit code 1', async () => {
    await using server = await startServer()
    const { port } = new URL(server.url)
    expect(await runToEnd(['--port', port])).toEqual({
      code: 1,
      stdout: '',
      stderr: `psys-kill: Cannot listen on 127.0.0.1:${port}: another program listens there; stop it, or listen elsewhere.\n`,
    })
  })

  test('settings come from the environment, and the command line wins', async () => {
    await using fromEnv = await startServer({ args: [], env: { PORT: '0', PSYS_KILL_HOST: '127.0.0.2' } })
    expect(fromEnv.url).toMatch(/^http:\/\/127\.0\.0\.2:/)
    expect(await health(fromEnv.url)).toBe(200)
    const { port } = new URL(fromEnv.url)
    await using server = await startServer({
      args: ['--port', '0', '--host', 'localhost'],
      env: { PORT: port, PSYS_KILL_HOST: '127.0.0.2' },
    })
    expect(server.url).toMatch(/^http:\/\/localhost:\d+$/)
    expect(new URL(server.url).port).not.toBe(port)
    expect(await health(server.url)).toBe(200)
  })

  test.for(['::1', '[::1]'])('serves IPv6 on %s', async (host, context) => {
    needsIPv6(context)
    await using server = await startServer({ args: ['--port', '0', '--host', host] })
    expect(server.url).toMatch(/^http:\/\/\[::1\]:\d+$/)
    using target = await startTarget()
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 200 })
  })

  test('never signals what --protect names', async () => {
    using target = await startTarget()
    using other = await startTarget()
    await using server = await startServer({ args: ['--port', '0', '--protect', String(target.pid)] })
    expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 403, text: '{"error":"Permission denied"}' })
    expect(await server.kill({ pid: other.pid })).toMatchObject({ status: 200 })
    expect(await other.ended).toBe('SIGTERM')
    expect(target.isAlive()).toBe(true)
  })

  test.each(['--help', '-h'])('%s names every setting and its variable, and exits 0', async (flag) => {
    const { code, stdout, stderr } = await runToEnd([flag, '--port', 'wrong'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const settings = ['host', 'port', 'socket', 'token-file', 'allow-host', 'allow-origin', 'protect', 'quiet']
    for (const name of [...settings, 'help', 'version']) expect(stdout).toContain(`--${name}`)
    for (const name of ['HOST', 'SOCKET', 'TOKEN', 'TOKEN_FILE', 'ALLOW_HOST', 'ALLOW_ORIGIN', 'PROTECT', 'QUIET'])
      expect(stdout).toMatch(new RegExp(`PSYS_KILL_${name}\\b`))
    expect(stdout).toMatch(/\bPORT\b/)
  })

  test.each(['--version', '-v'])('%s is the version of the package', async (flag) => {
    expect(await runToEnd([flag])).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: '' })
  })

  // One of the command line, one of the environment, and one that only listening can tell.
  test.each<[args: string[], env: Record<string, string>, names: string]>([
    [['--token-file', '/no/such\nfile'], {}, '/no/such file'],
    [[], { PSYS_KILL_TOKENFILE: '/run/token' }, 'PSYS_KILL_TOKENFILE'],
    [['--host', '192.0.2.1'], { PSYS_KILL_TOKEN: 'correct-horse-battery' }, 'choose one that `ip address` lists'],
    [['--port', '-1'], {}, 'behind an equals sign'],
    [['--socket', '/no/such/folder/socket'], {}, 'its folder must exist'],
    [['--host', 'name.invalid'], { PSYS_KILL_TOKEN: 'correct-horse-battery' }, 'name.invalid'],
  ])('%j %j is one clear line and exit code 1', async (args, env, names) => {
    const { code, stdout, stderr } = await runToEnd(args, env)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toMatch(/^psys-kill: [^\n]+\.\n$/)
    expect(stderr).toContain(names)
  })
})

test('a hundred bad bodies get the answer of the table, signal nothing, and leave the server as it was', async () => {
  await using server = await startServer()
  using canary = await startTarget()
  const { pid } = canary
  const valid = JSON.stringify({ pid })
  const megabytes = Buffer.alloc(3_000_000, ' ')
  const chunked = { 'content-length': '', 'transfer-encoding': 'chunked' }
  const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`

  const pids = [
    ...['true', 'false', 'null', '[]', '{}', `[${pid}]`, `{"pid":${pid}}`, `[[${pid}]]`, '[1,2]'],
    ...[-1, 0, -0, -pid, 1.5, 0.1, pid + 0.5, 9007199254740992, 1e300].map(String),
    ...['1e999', '-1e999', '1e-7', '-0.0'],
    ...[
      '',
      ' ',
      '\\n',
      '0',
      '-1',
      '-0',
      '00',
      '+1',
      '1e3',
      '1E3',
      '0x10',
      '0b1',
      '0o7',
      '1.0',
      '1.9',
      '1,000',
      '1_000',
    ].map((text) => `"${text}"`),
    ...[
      `${pid}abc`,
      `abc${pid}`,
      `+${pid}`,
      `-${pid}`,
      `${pid}.0`,
      `${pid}e0`,
      `${pid}n`,
      `${pid} ${pid}`,
      `${pid};1`,
    ].map((text) => `"${text}"`),
    ...[
      `0x${pid.toString(16)}`,
      `${pid}\\u0000`,
      '１２３',
      '١٢٣',
      '²',
      'NaN',
      'Infinity',
      'null',
      'true',
      '9007199254740993',
    ].map((text) => `"${text}"`),
    ...['"__proto__"', '"constructor"', `"${'9'.repeat(400)}"`, `"${'x'.repeat(4000)}"`],
  ].map((value) => killRequest(`{"pid":${value}}`))

  const bodies = [
    ...[
      '',
      ' ',
      '{',
      '}',
      '{}',
      '[]',
      '[1]',
      'null',
      'true',
      '1',
      `${pid}`,
      `"${pid}"`,
      `[${valid}]`,
      `pid=${pid}`,
      'NaN',
    ],
    ...[`{"pid":${pid}`, `{"pid":${pid},}`, `{pid:${pid}}`, `{'pid':${pid}}`, `{"pid":0${pid}}`, `{"pid":+${pid}}`],
    ...[
      `${valid}}`,
      `${valid}${valid}`,
      `//\n${valid}`,
      `{"PID":${pid}}`,
      `{"__proto__":${valid}}`,
      '{"pid":undefined}',
    ],
    ...['{"pid":NaN}', '{"pid":Infinity}', `{"pid":${pid}n}`, '\0', '[[[[', '['.repeat(4000)],
  ].map((body) => killRequest(body))

  const types = [
    ...['', 'text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x', 'text/html', '*/*'],
    ...[
      'application/jsonp',
      'application/json5',
      'application/octet-stream',
      'text/json',
      'json',
      'application/json/x',
    ],
    ...['application/json, text/plain', 'text/plain\r\nContent-Type: application/json', 'text/plain; application/json'],
  ].map((type) => killRequest(valid, { 'content-type': type }))

  const large = [
    killRequest(`${valid}${' '.repeat(4097 - valid.length)}`),
    killRequest(Buffer.concat([Buffer.from(valid), megabytes])),
    killRequest(Buffer.concat([Buffer.from(valid), megabytes]), { 'content-type': 'text/plain' }),
    killRequest(chunk(valid) + chunk(megabytes.toString()) + chunk(''), chunked),
    // Without the last chunk, so that only the limit can end them.
    killRequest(chunk(valid) + chunk(megabytes.toString()), chunked),
    killRequest(chunk(`${valid}${' '.repeat(4097 - valid.length)}`), chunked),
    killRequest(chunk(valid) + chunk(' ').repeat(4097), chunked),
  ]

  const invalid = [...pids, ...bodies, ...types]
  expect(invalid.length + large.length).toBeGreaterThanOrEqual(100)
  const check = async (request: Buffer, answer: typeof INVALID) => {
    const { status, headers, body } = await exchange(server.url, request)
    const seen = { status, body, type: headers['content-type'] }
    expect.soft(seen, request.toString().slice(0, 300)).toEqual({ ...answer, type: 'application/json' })
  }
  await Promise.all([
    ...invalid.map((request) => check(request, INVALID)),
    ...large.map((request) => check(request, TOO_LARGE)),
  ])
  expect(canary.isAlive()).toBe(true)
  expect(server.stderr()).not.toContain('at ')
  expect(server.records.filter(({ outcome }) => outcome !== 'refused')).toEqual([])
  expect(await server.kill(valid)).toMatchObject({ status: 200 })
  expect(await canary.ended).toBe('SIGTERM')
  await server.record(({ outcome }) => outcome === 'sent')
  expect(server.records).toHaveLength(invalid.length + large.length + 1)
})

describe('the file', () => {
  test('is at most 100,000 bytes', () => {
    expect(statSync(BUILT_FILE).size).toBeLessThanOrEqual(100_000)
  })

  test('carries the licence of every package that is in it', () => {
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
