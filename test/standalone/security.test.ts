import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/contract.ts'
import { startSleeper, type Target } from '../support/processes.ts'
import { exchange, killRequest } from '../support/raw.ts'
import { type RunningServer, startServer, TOKEN } from '../support/server.ts'

/** What an outsider sends over the wire; which headers and paths are refused is tested in test/server. */
type Attack = [name: string, headers: Record<string, string>, answer: string | RegExp]

const POST = `POST ${KILL_PATH} HTTP/1.1`
const EVIL = 'http://evil.example'
const bearer = { authorization: `Bearer ${TOKEN}` }
const line = (text: string) => ({ line: `${text} HTTP/1.1` })
const absolute = (url: string) => line(`POST ${url}${KILL_PATH}`)

const HOST = '403 host'
const ORIGIN = '403 origin'
const NOT_HTTP = '400 '
const NO_TYPE = '400 content-type'
const NO_TOKEN = '401 token missing'
const BAD_TOKEN = '401 token unknown'
const NO_PATH = '404 path'

/** What URL parsing of some Node refuses, and of another does not. */
const UNUSABLE = /^40[03] (host|origin)?$/

const unusable = [
  ...['256.256.256.256', 'a.1', 'xn--a', 'x@127.0.0.1', 'a b', 'localhost/..', '[::1', 'localhost:99999'],
  ...['localhost#', 'local\thost', '[0:0:0:0:0:0:0:1]', '\x85', ' ', ',', '%', '0x7f.1'],
]

type Options = Parameters<typeof startServer>[0]
const attack = (title: string, options: Options, honest: Record<string, string>, attacks: Attack[]) =>
  describe(title, () => {
    let server: RunningServer
    let canary: Target
    const send = async ({ line = POST, ...headers }: Record<string, string>) => {
      const request = killRequest(JSON.stringify({ pid: canary.pid }), headers)
        .toString('latin1')
        .replace(POST, line)
      return exchange(server.url.replace('0.0.0.0', '127.0.0.1'), Buffer.from(request, 'latin1'))
    }
    beforeAll(async () => {
      server = await startServer(options)
      canary = startSleeper()
    })
    // In the end the process lives, until an honest request kills it.
    afterAll(async () => {
      expect(canary.isAlive()).toBe(true)
      expect(server.records.filter(({ outcome }) => outcome !== 'refused')).toEqual([])
      expect(server.stderr()).not.toMatch(/\n +at /)
      expect(await send(honest)).toMatchObject({ status: 200, body: '{"ok":true}' })
      expect(await canary.ended).toBe('SIGTERM')
      await server[Symbol.asyncDispose]()
    })

    test.each(attacks)('%s', async (_name, headers, answer) => {
      const { status, headers: sent, body } = await send(headers)
      const reason = sent['psys-kill-reason'] ?? ''
      expect(`${status} ${reason}`).toMatch(typeof answer === 'string' ? new RegExp(`^${answer}$`) : answer)
      expect(Object.keys(sent).filter((name) => name.startsWith('access-control'))).toEqual([])
      if (reason === '') return expect(body).toBe('')
      expect(JSON.parse(body)).toHaveProperty('error')
      const record = await server.record(({ id }) => id === sent['x-request-id'])
      expect(record).toMatchObject({ outcome: 'refused', status, reason, remote: '127.0.0.1' })
    })
  })

const open = { args: ['--port', '0', '--allow-host', 'kill.example', '--allow-origin', 'https://tools.example'] }
const allowed = { host: 'kill.example', origin: 'https://tools.example', 'sec-fetch-site': 'cross-site' }
attack('without a token no web page kills:', open, allowed, [
  ['the request that the original obeyed', { host: 'evil.example', origin: EVIL, 'content-type': 'text/plain' }, HOST],
  ['DNS rebinding', { host: 'evil.example:3000', origin: `${EVIL}:3000`, 'sec-fetch-site': 'same-origin' }, HOST],
  ['two Hosts, the good one first', { host: 'localhost\r\nHost: evil.example' }, HOST],
  ['two Hosts, the bad one first', { host: 'evil.example\r\nHost: localhost' }, HOST],
  ['no Host', { host: '' }, NOT_HTTP],
  ['HTTP/1.0 without Host', { host: '', line: `POST ${KILL_PATH} HTTP/1.0` }, NOT_HTTP],
  ['a target of another host', absolute(EVIL), HOST],
  ['a target of ours with another Host', { ...absolute('http://localhost'), host: 'evil.example' }, HOST],
  ['an empty Origin', { origin: ' ' }, ORIGIN],
  ['two Origins', { origin: 'http://localhost\r\nOrigin: http://evil.example' }, ORIGIN],
  ['an Origin behind 98 headers', { x: `x${'\r\nx: x'.repeat(93)}`, origin: EVIL }, ORIGIN],
  ['a beacon without a type', { 'content-type': '' }, NO_TYPE],
  ['two types', { 'content-type': 'text/plain\r\nContent-Type: application/json' }, NO_TYPE],
  ['a preflight', { ...line(`OPTIONS ${KILL_PATH}`), origin: EVIL, 'access-control-request-method': 'POST' }, ORIGIN],
  ['a WebSocket', { origin: EVIL, connection: 'close, Upgrade', upgrade: 'websocket' }, ORIGIN],
  ...unusable.map((host): Attack => [`the Host ${JSON.stringify(host)}`, { host }, UNUSABLE]),
])

const withToken = { args: ['--port', '0', '--host', '0.0.0.0'], env: { PSYS_KILL_TOKEN: TOKEN } }
attack('with a token nobody kills without it:', withToken, { ...bearer, host: 'any.example' }, [
  ['no token', { host: 'any.example' }, NO_TOKEN],
  ['two tokens, one of them right', { authorization: `Bearer x\r\nAuthorization: Bearer ${TOKEN}` }, BAD_TOKEN],
  ['a token in the query', line(`POST ${KILL_PATH}?token=${TOKEN}&access_token=${TOKEN}`), NO_TOKEN],
  ['a token in other headers', { 'proxy-authorization': `Bearer ${TOKEN}`, cookie: `token=${TOKEN}` }, NO_TOKEN],
  ['an encoded path', line('POST /api/connections/%6Bill'), NO_TOKEN],
  ['a path with dots', line('POST /x/../api/./connections/kill'), NO_TOKEN],
  ['an absolute target', absolute('http://localhost'), NO_TOKEN],
  ['a path with a slash at its end', line(`POST ${KILL_PATH}/`), NO_PATH],
  ['a path with an encoded slash', line('POST /api%2fconnections/kill'), NO_PATH],
  ['a path that is malformed', line('POST /%'), NO_PATH],
  ...['http://256.256.256.256/', 'http://[::1', 'ftp://localhost', '/api\\connections\\kill', '?', '*'].map(
    (target): Attack => [`the target ${target}`, { ...line(`POST ${target}`), ...bearer }, NOT_HTTP],
  ),
  ...unusable.map((host): Attack => [`the Host ${JSON.stringify(host)}`, { ...bearer, host, origin: EVIL }, UNUSABLE]),
])
