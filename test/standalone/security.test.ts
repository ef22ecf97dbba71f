import { once } from 'node:events'
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { emptyFolder } from '../support/folder.ts'
import { describeWith, needsLinux, needsRoot } from '../support/needs.ts'
import { exchange, killRequest } from '../support/raw.ts'
import { runToEnd } from '../support/run.ts'
import { BUILT_FILE, type RunningServer, startServer } from '../support/server.ts'
import { startTarget, type Target } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

const AUTHORIZATION = `Bearer ${TOKEN}`
const NOBODY = 65_534

const HOST = { status: 403, body: '{"error":"Host not allowed"}' }
const ORIGIN = { status: 403, body: '{"error":"Origin not allowed"}' }
const NO_JSON = { status: 400, body: '{"error":"Invalid pid"}' }
const NO_TOKEN = { status: 401, body: '{"error":"Unauthorized"}' }
const NO_PATH = { status: 404, body: '{"error":"Not Found"}' }
const NO_POST = { status: 405, body: '{"error":"Method Not Allowed"}' }

type Attack = [name: string, headers: Record<string, string>, answer: { status: number; body: string }]

/** Attacks one canary with all of them; at the end an honest request shows that it was alive and within reach. */
const fends = (
  title: string,
  options: Parameters<typeof startServer>[0],
  honest: Record<string, string>,
  attacks: (port: string) => Attack[],
) =>
  describe(title, () => {
    let server: RunningServer
    let canary: Target
    beforeAll(async () => {
      server = await startServer(options)
      canary = await startTarget()
    })
    afterAll(async () => {
      canary[Symbol.dispose]()
      await server[Symbol.asyncDispose]()
    })
    const body = (): string => JSON.stringify({ pid: canary.pid })

    test.each(attacks('PORT').map(([name], index) => [name, index] as const))('%s', async (_name, index) => {
      const { port } = new URL(server.url)
      const [, { method = 'POST', ...headers } = {}, answer] = attacks(port)[index] ?? []
      const request = killRequest(body(), headers).toString('latin1').replace(/^POST/, method)
      const { headers: sent, ...answered } = await exchange(server.url, Buffer.from(request, 'latin1'))
      expect(answered).toEqual(answer)
      expect(Object.keys(sent).filter((name) => name.startsWith('access-control'))).toEqual([])
      expect(await server.record(({ id }) => id === sent['x-request-id'])).toMatchObject({ outcome: 'refused' })
      expect(canary.isAlive()).toBe(true)
    })

    test('and in the end the canary lives, until an honest request kills it', async () => {
      expect(server.records.filter(({ outcome }) => outcome !== 'refused')).toEqual([])
      expect(await exchange(server.url, killRequest(body(), honest))).toMatchObject({
        status: 200,
        body: '{"ok":true}',
      })
      expect(await canary.ended).toBe('SIGTERM')
    })
  })

fends('by default no web page kills:', {}, {}, (port) => [
  [
    'the request that the original obeyed',
    { host: 'evil.example', origin: 'http://evil.example', 'content-type': 'text/plain' },
    HOST,
  ],
  [
    'DNS rebinding',
    { host: `evil.example:${port}`, origin: `http://evil.example:${port}`, 'sec-fetch-site': 'same-origin' },
    HOST,
  ],
  ['DNS rebinding without an Origin', { host: `evil.example:${port}` }, HOST],
  ['a name that ends like a loopback one', { host: 'evil-localhost' }, HOST],
  ['a name that begins like a loopback one', { host: '127.0.0.1.evil.example' }, HOST],
  ['the unspecified address', { host: `0.0.0.0:${port}` }, HOST],
  ['two Hosts, the good one first', { host: 'localhost\r\nHost: evil.example' }, HOST],
  ['two Hosts, the bad one first', { host: 'evil.example\r\nHost: localhost' }, HOST],
  ['a forwarded Host', { host: 'evil.example', 'x-forwarded-host': 'localhost', forwarded: 'host=localhost' }, HOST],
  ['a page of another site', { origin: 'http://evil.example' }, ORIGIN],
  [
    'a page of another site, as browsers mark it',
    { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' },
    ORIGIN,
  ],
  ['a page of another site that hides its Origin', { 'sec-fetch-site': 'cross-site' }, ORIGIN],
  ['a page on another port of localhost', { host: `localhost:${port}`, origin: 'http://localhost:1' }, ORIGIN],
  [
    'the same, as browsers mark it',
    { host: `localhost:${port}`, origin: 'http://localhost:1', 'sec-fetch-site': 'same-site' },
    ORIGIN,
  ],
  [
    'a page on another scheme of the same port',
    { host: `127.0.0.1:${port}`, origin: `https://127.0.0.1:${port}` },
    ORIGIN,
  ],
  [
    'a page under another name of the same server',
    { host: `localhost:${port}`, origin: `http://127.0.0.1:${port}` },
    ORIGIN,
  ],
  ['a sandboxed frame or a file', { origin: 'null' }, ORIGIN],
  ['an empty Origin', { origin: ' ' }, ORIGIN],
  [
    'two Origins',
    { host: `localhost:${port}`, origin: `http://localhost:${port}\r\nOrigin: http://evil.example` },
    ORIGIN,
  ],
  ['an extension', { origin: 'chrome-extension://abcdefghijklmnop' }, ORIGIN],
  ['a form', { origin: 'http://evil.example', 'content-type': 'application/x-www-form-urlencoded' }, ORIGIN],
  ['a form of a browser that sends no Origin', { 'content-type': 'application/x-www-form-urlencoded' }, NO_JSON],
  ['a plain-text form of one', { 'content-type': 'text/plain' }, NO_JSON],
  ['a multipart form of one', { 'content-type': 'multipart/form-data; boundary=x' }, NO_JSON],
  ['a beacon without a type', { 'content-type': '' }, NO_JSON],
  ['two types', { 'content-type': 'text/plain\r\nContent-Type: application/json' }, NO_JSON],
  ['an image or a link', { method: 'GET', path: `${KILL_PATH}?pid=1`, 'sec-fetch-site': 'cross-site' }, ORIGIN],
  ['an image of a browser that does not mark it', { method: 'GET' }, NO_POST],
  [
    'a preflight',
    { method: 'OPTIONS', origin: 'http://evil.example', 'access-control-request-method': 'POST' },
    ORIGIN,
  ],
  [
    'a WebSocket',
    { method: 'GET', origin: 'http://evil.example', connection: 'close, Upgrade', upgrade: 'websocket' },
    ORIGIN,
  ],
  ['another method', { method: 'PUT' }, NO_POST],
  ['another method that claims to be a POST', { method: 'GET', 'x-http-method-override': 'POST' }, NO_POST],
  [
    'a POST that claims to be one',
    { path: '/elsewhere', 'x-original-url': KILL_PATH, 'x-rewrite-url': KILL_PATH },
    NO_PATH,
  ],
])

fends(
  'with a token nobody kills without it:',
  { env: { PSYS_KILL_TOKEN: TOKEN } },
  { authorization: AUTHORIZATION },
  () => [
    ['no token', {}, NO_TOKEN],
    ['another one', { authorization: 'Bearer wrong-horse-battery-staple' }, NO_TOKEN],
    ['its beginning', { authorization: AUTHORIZATION.slice(0, -1) }, NO_TOKEN],
    ['more than it', { authorization: `${AUTHORIZATION}x` }, NO_TOKEN],
    ['an empty one', { authorization: 'Bearer ' }, NO_TOKEN],
    ['no scheme', { authorization: TOKEN }, NO_TOKEN],
    ['another scheme', { authorization: `Basic ${btoa(`:${TOKEN}`)}` }, NO_TOKEN],
    ['two, one of them right', { authorization: `Bearer x\r\nAuthorization: ${AUTHORIZATION}` }, NO_TOKEN],
    ['one in the query', { path: `${KILL_PATH}?token=${TOKEN}&access_token=${TOKEN}` }, NO_TOKEN],
    ['one in a cookie', { cookie: `token=${TOKEN}` }, NO_TOKEN],
    ['one in other headers', { 'proxy-authorization': AUTHORIZATION, 'x-api-key': TOKEN }, NO_TOKEN],
    ['one in capitals', { authorization: AUTHORIZATION.toUpperCase() }, NO_TOKEN],
    ['an encoded path', { path: '/api/connections/%6Bill' }, NO_TOKEN],
    ['a path with dots', { path: '/x/../api/./connections/kill' }, NO_TOKEN],
    ['an absolute path', { path: `http://localhost${KILL_PATH}` }, NO_TOKEN],
    ['a path with a slash at its end', { path: `${KILL_PATH}/` }, NO_PATH],
    ['a path with two slashes', { path: `/${KILL_PATH}` }, NO_PATH],
    ['a path with an encoded slash', { path: '/api%2fconnections/kill' }, NO_PATH],
    ['a path in capitals', { path: KILL_PATH.toUpperCase() }, NO_PATH],
    [
      'the right one, from a page of another site',
      { authorization: AUTHORIZATION, origin: 'http://evil.example' },
      ORIGIN,
    ],
    ['the right one, by another Host', { authorization: AUTHORIZATION, host: 'evil.example' }, HOST],
  ],
)

fends(
  'beyond loopback, where any Host may call, nobody kills without the token:',
  { args: ['--port', '0', '--host', '0.0.0.0'], env: { PSYS_KILL_TOKEN: TOKEN } },
  { authorization: AUTHORIZATION, host: 'server.example' },
  (port) => [
    ['no token', { host: `server.example:${port}` }, NO_TOKEN],
    ['DNS rebinding', { host: `evil.example:${port}`, origin: `http://evil.example:${port}` }, NO_TOKEN],
    ['a page of another site', { host: `server.example:${port}`, origin: 'http://evil.example' }, ORIGIN],
  ],
)

fends(
  'what is allowed opens no more than that:',
  { args: ['--port', '0', '--allow-host', 'kill.example', '--allow-origin', 'https://tools.example'] },
  { host: 'kill.example', origin: 'https://tools.example', 'sec-fetch-site': 'cross-site' },
  (port) => [
    ['another Host', { host: 'evil.example' }, HOST],
    ['a subdomain', { host: 'evil.kill.example' }, HOST],
    ['another origin', { host: 'kill.example', origin: 'http://evil.example' }, ORIGIN],
    ['another scheme', { host: 'kill.example', origin: 'http://tools.example' }, ORIGIN],
    ['another port', { host: 'kill.example', origin: 'https://tools.example:8443' }, ORIGIN],
    ['the allowed Host on another port', { host: `kill.example:${port}`, origin: 'http://kill.example:1' }, ORIGIN],
    ['cross-site without an Origin', { host: 'kill.example', 'sec-fetch-site': 'cross-site' }, ORIGIN],
  ],
)

describe('with an allowed origin', () => {
  test('a preflight is answered, the token asked for, and no credentials are let in', async () => {
    const args = ['--port', '0', '--allow-origin', 'https://tools.example']
    await using server = await startServer({ args, env: { PSYS_KILL_TOKEN: TOKEN } })
    const origin = { Origin: 'https://tools.example', 'Sec-Fetch-Site': 'cross-site' }
    const preflight = await fetch(server.url + KILL_PATH, {
      method: 'OPTIONS',
      headers: { ...origin, 'Access-Control-Request-Method': 'POST' },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-origin')).toBe('https://tools.example')
    expect(preflight.headers.has('access-control-allow-credentials')).toBe(false)
    const refused = await server.kill({}, origin)
    expect(refused.status).toBe(401)
    expect(refused.headers.get('access-control-allow-origin')).toBe('https://tools.example')
    using target = await startTarget()
    const killed = await server.kill({ pid: target.pid }, { ...origin, Authorization: AUTHORIZATION })
    expect(killed.status).toBe(200)
    expect(killed.headers.get('access-control-expose-headers')).toBe('X-Request-Id')
    expect(await target.ended).toBe('SIGTERM')
  })
})

describe('an address beyond loopback', () => {
  test.each(['0.0.0.0', '::', '192.0.2.1'])('is refused without a token: %s', async (host) => {
    const { code, stdout, stderr } = await runToEnd(['--host', host, '--port', '0'])
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
    expect(stderr).toBe(
      `psys-kill: Listening on ${host} lets the network in: set a token (--token-file or PSYS_KILL_TOKEN) or --tls-client-ca, or listen on 127.0.0.1.\n`,
    )
  })

  test('with one answers 401 without it and kills with it, which is not warned about', async () => {
    using folder = emptyFolder()
    writeFileSync(folder.file('token'), `${TOKEN}\n`, { mode: 0o600 })
    const args = ['--port', '0', '--host', '0.0.0.0', '--token-file', folder.file('token')]
    await using server = await startServer({ args })
    expect(server.url).toMatch(/^http:\/\/0\.0\.0\.0:\d+$/)
    const url = server.url.replace('0.0.0.0', '127.0.0.1')
    using target = await startTarget()
    const kill = async (authorization: string) => {
      const headers = { 'content-type': 'application/json', authorization }
      const response = await fetch(url + KILL_PATH, {
        method: 'POST',
        headers,
        body: JSON.stringify({ pid: target.pid }),
      })
      return response.status
    }
    expect(await kill('')).toBe(401)
    expect(await kill(`${AUTHORIZATION}x`)).toBe(401)
    expect(target.isAlive()).toBe(true)
    expect(await kill(AUTHORIZATION)).toBe(200)
    expect(await target.ended).toBe('SIGTERM')
    expect(server.stderr()).toBe('')
    expect((await fetch(`${url}/healthz`)).status).toBe(200)
  })
})

describe('the token', () => {
  test('appears in nothing that is printed', async () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, TOKEN, { mode: 0o644 })
    chmodSync(file, 0o644)
    await using server = await startServer({ args: ['--port', '0', '--token-file', file] })
    expect(server.stderr()).toBe(`psys-kill: Every local user may read the token in ${file}; run chmod o-r on it.\n`)
    await server.kill({ pid: 'x' }, { authorization: AUTHORIZATION })
    await server.kill({ pid: 'x' }, { authorization: `Basic ${TOKEN}` })
    await server.kill(
      { pid: 'x', token: TOKEN },
      { authorization: `${AUTHORIZATION}${TOKEN}`, cookie: TOKEN, 'x-request-id': TOKEN },
    )
    await fetch(`${server.url}${KILL_PATH}?access_token=${TOKEN}`)
    await exchange(server.url, `GET / HTTP/1.1\r\nAuthorization: ${AUTHORIZATION}\0\r\n\r\n`)
    const allSaid = once(server.child, 'close')
    await server.stop()
    await allSaid
    expect(server.records).toHaveLength(4)
    expect(server.stdout() + server.stderr()).not.toContain(TOKEN)

    const env = { PSYS_KILL_TOKEN: TOKEN }
    for (const args of [
      ['--help'],
      ['--version'],
      ['--port', 'x'],
      ['--token-file', file],
      ['--host', '192.0.2.1', '--port', '0'],
    ]) {
      const { stdout, stderr } = await runToEnd(args, env)
      expect(stdout + stderr).not.toBe('')
      expect(stdout + stderr).not.toContain(TOKEN)
    }
    const { code, stderr } = await runToEnd([], { PSYS_KILL_TOKEN: `${TOKEN} ` })
    expect(code).toBe(1)
    expect(stderr).not.toContain(TOKEN)
  })

  test('is not taken from the command line', async () => {
    const { code, stderr } = await runToEnd([`--token=${TOKEN}`])
    expect({ code, stderr }).toEqual({ code: 1, stderr: "psys-kill: Unknown option '--token'. See --help.\n" })
  })

  test('in a file that is not there, is empty or is a folder is one line and exit code 1', async () => {
    using folder = emptyFolder()
    writeFileSync(folder.file('empty'), '', { mode: 0o600 })
    for (const name of ['none', 'empty', '.']) {
      const { code, stderr } = await runToEnd(['--port', '0', '--token-file', folder.file(name)])
      expect(code).toBe(1)
      expect(stderr).toMatch(/^psys-kill: The token .+\.\n$/)
    }
  })

  test('in a file that the server may not read is one as well', async (context) => {
    needsRoot(context)
    using folder = emptyFolder()
    chmodSync(folder.path, 0o755)
    copyFileSync(BUILT_FILE, folder.file('psys-kill.cjs'))
    writeFileSync(folder.file('token'), TOKEN, { mode: 0o600 })
    const command = [process.execPath, folder.file('psys-kill.cjs')]
    const started = startServer({
      command,
      args: ['--port', '0', '--token-file', folder.file('token')],
      uid: NOBODY,
      gid: NOBODY,
    })
    await expect(started).rejects.toThrow(
      `The server exited with 1: psys-kill: The token file ${folder.file('token')} cannot be read: EACCES.\n`,
    )
  })
})

describeWith(['root', 'setpriv'], 'a server that may kill what others run', () => {
  const WARNING = 'psys-kill: Every local user can now kill processes of others: set a token, or use --socket.\n'

  const folder = emptyFolder()
  afterAll(() => folder[Symbol.dispose]())
  beforeAll(() => {
    chmodSync(folder.path, 0o755)
    copyFileSync(BUILT_FILE, folder.file('psys-kill.cjs'))
  })
  const command = [process.execPath, folder.file('psys-kill.cjs')]

  test('warns on TCP without a token, when it listens', async () => {
    await using server = await startServer({ command })
    expect(server.stderr()).toBe(WARNING)
  })

  test('does not with a token, on a socket, or as a user who may not', async () => {
    await using withToken = await startServer({ command, env: { PSYS_KILL_TOKEN: TOKEN } })
    expect(withToken.stderr()).toBe('')
    await using onSocket = await startServer({ command, args: ['--socket', folder.file('socket')] })
    expect(onSocket.stderr()).toBe('')
    await using nobody = await startServer({ command, uid: NOBODY, gid: NOBODY })
    expect(nobody.stderr()).toBe('')
    using target = await startTarget()
    expect(await nobody.kill({ pid: target.pid })).toMatchObject({ status: 403, text: '{"error":"Permission denied"}' })
    expect(await nobody.record(({ pid }) => pid === target.pid)).toMatchObject({ outcome: 'EPERM' })
    expect(target.isAlive()).toBe(true)
  })

  test('goes by CAP_KILL, not by the user', async () => {
    const as = (...options: string[]) => startServer({ command: ['setpriv', ...options, ...command] })
    const unprivileged = [`--reuid=${NOBODY}`, `--regid=${NOBODY}`, '--clear-groups']
    await using capable = await as(...unprivileged, '--inh-caps=+kill', '--ambient-caps=+kill')
    expect(capable.stderr()).toBe(WARNING)
    await using incapable = await as('--bounding-set=-kill', '--inh-caps=-kill')
    expect(incapable.stderr()).toBe('')
  })
})

describe('the record', () => {
  /** All that it wrote until it was to stop. */
  const linesOf = (server: RunningServer) =>
    server
      .stdout()
      .replace(/\{[^\n]*"stopping on .*/s, '')
      .trimEnd()
      .split('\n')

  test('cannot be forged by what a client sends, and has the id of the answer', async () => {
    await using server = await startServer()
    const forgery = '\n{"time":"2026-01-01T00:00:00.000Z","pid":1,"outcome":"sent"}\u2028\u0085\u001b[2K'
    const { status, headers } = await server.kill({ pid: forgery })
    expect(status).toBe(400)
    const record = await server.record(({ id }) => id === headers.get('x-request-id'))
    expect(record).toMatchObject({ pid: forgery.slice(0, 64), outcome: 'refused', status: 400, remote: '127.0.0.1' })
    await exchange(server.url, killRequest('{}', { path: '/a%0a%e2%80%a8%c2%85%1b', 'x-request-id': '\x85' }))
    await server.stop()
    expect(linesOf(server)).toHaveLength(3)
    expect(server.stdout()).toMatch(/^[\n\x20-\x7e]+$/)
  })

  test('cannot be forged by the name of a process', async (context) => {
    needsLinux(context)
    await using server = await startServer()
    using target = await startTarget('process.title = "a) R\\n{\\"pid\\":"')
    expect((await server.kill({ pid: target.pid })).status).toBe(200)
    expect(await server.record(({ pid }) => pid === target.pid)).toMatchObject({
      command: 'a) R\n{"pid":',
      outcome: 'sent',
    })
    await server.stop()
    expect(linesOf(server)).toHaveLength(2)
  })

  test('is left out by --quiet, and by PSYS_KILL_QUIET', async () => {
    for (const options of [{ args: ['--port', '0', '--quiet'] }, { env: { PSYS_KILL_QUIET: '1' } }]) {
      await using server = await startServer(options)
      await server.kill({ pid: 'x' })
      await server.stop()
      expect(linesOf(server)).toEqual([expect.stringMatching(/^\{"time":.+"listening on .+\}$/)])
    }
  })
})
