import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeConformance } from '../runtimes/conformance.ts'
import { emptyFolder } from '../support/folder.ts'
import { freePort } from '../support/listening.ts'
import { KILL } from '../support/post.ts'
import { startSleeper, startTarget } from '../support/processes.ts'
import { type RunningServer, startServer, TOKEN } from '../support/server.ts'
import { askTls, authority, type Identity, LOOPBACK } from '../support/tls.ts'
import { missingForNginx, startNginx } from './nginx.ts'

const names = ['a', 'b', 'c'] as const
type Name = (typeof names)[number]
const AUTHORIZATION = { authorization: `Bearer ${TOKEN}` }
const CONF = readFileSync(new URL('../../build/nginx.conf', import.meta.url), 'utf8')

const needed = missingForNginx.length > 0 ? ` (needs ${missingForNginx.join()})` : ''

describe.skipIf(missingForNginx.length > 0)(`nginx${needed}`, () => {
  const folder = emptyFolder()
  let ca: string
  let web: Identity
  let servers: Record<Name, RunningServer>
  let front: Awaited<ReturnType<typeof startFront>>

  /** Starts nginx with build/nginx.conf. Only the addresses, the certificate and `adapted` are the test's own. */
  const startFront = async (addresses: Readonly<Record<Name, string>>, adapted = (conf: string) => conf) => {
    const port = await freePort()
    const conf = CONF.replace('listen 443 ssl', `listen 127.0.0.1:${port} ssl`)
      .replace('/etc/nginx/psys-kill.crt', web.certFile)
      .replace('/etc/nginx/psys-kill.key', web.keyFile)
      .replace(/^ {2}([abc]) 10\.0\.0\.\d:3000;$/gm, (_line, host: Name) => `  ${host} ${addresses[host]};`)
    const nginx = await startNginx(adapted(conf))
    const url = `https://127.0.0.1:${port}`
    const ask = async (path: string, body: object, headers = {}) => {
      const answer = await askTls(url, { ca }, { path, headers: { ...AUTHORIZATION, ...headers }, body })
      return [answer.status, answer.headers['content-type'], answer.text]
    }
    const kill = (name: string, body: object, headers = {}) => ask(`/hosts/${name}${KILL}`, body, headers)
    return { url, ask, kill, [Symbol.asyncDispose]: nginx[Symbol.asyncDispose] }
  }
  const json = (status: number, error: string) => [status, 'application/json', JSON.stringify({ error })]
  const done = (more: object = {}) => [200, 'application/json', JSON.stringify({ ok: true, ...more })]
  const address = ({ url }: RunningServer) => new URL(url).host

  beforeAll(async () => {
    const ours = authority(folder, 'ours')
    ca = ours.ca
    web = ours.issue('web', LOOPBACK)
    const start = (host: string) =>
      startServer({ args: ['--host', host, '--port', '0'], env: { PSYS_KILL_TOKEN: TOKEN } })
    servers = { a: await start('127.0.0.2'), b: await start('127.0.0.3'), c: await start('127.0.0.4') }
    front = await startFront({ a: address(servers.a), b: address(servers.b), c: address(servers.c) })
  })
  afterAll(async () => {
    await front[Symbol.asyncDispose]()
    for (const name of names) await servers[name][Symbol.asyncDispose]()
    folder[Symbol.dispose]()
  })

  describeConformance(['look'], () => {
    return { url: `${front.url}/hosts/a`, ca, pid: servers.a.child.pid ?? 0, headers: AUTHORIZATION }
  })

  test('kills on the host that the path names, with the address of the client on record, and asks no other', async () => {
    for (const name of names) {
      using target = startSleeper()
      expect(await front.kill(name, { pid: target.pid })).toEqual(done())
      expect(await target.ended).toBe('SIGTERM')
      const isOurs = ({ pid }: Record<string, unknown>) => pid === target.pid
      expect(await servers[name].record(isOurs)).toMatchObject({ forwarded: '127.0.0.1' })
      expect(names.filter((each) => servers[each].records.some(isOurs))).toEqual([name])
    }
  })

  const paths = ['d', 'A', '', 'a%2f..', '10.0.0.1:3000'].map((name) => `/hosts/${name}${KILL}`)
  test.each([...paths, '/', KILL])('answers in JSON that there is no %s', async (path) => {
    expect(await front.ask(path, { pid: 0 })).toEqual(json(404, 'Not Found'))
  })

  test('answers in JSON to a body that is far too large', async () => {
    expect(await front.kill('a', { pid: 'x'.repeat(20_000) })).toEqual(json(413, 'Payload Too Large'))
  })

  test('leaves the token to the hosts', async () => {
    expect(await front.kill('a', { pid: 0 }, { authorization: undefined })).toEqual(json(401, 'Unauthorized'))
  })

  test('waits longer than the longest waitMs, and answers in JSON when its time is over', async () => {
    const limit = /proxy_read_timeout (\d+)s/
    expect(Number(limit.exec(CONF)?.[1])).toBeGreaterThan(60)
    using target = await startTarget("process.on('SIGTERM', () => {})")
    expect(await front.kill('c', { pid: target.pid, waitMs: 1500 })).toEqual(done({ exited: false }))
    const dead = `127.0.0.9:${await freePort()}`
    await using hasty = await startFront({ a: address(servers.a), b: dead, c: dead }, (conf) =>
      conf.replace(limit, 'proxy_read_timeout 1s'),
    )
    expect(await hasty.kill('a', { pid: target.pid, waitMs: 60_000 })).toEqual(json(504, 'Gateway Timeout'))
  })

  test('answers 502 in JSON for a host that is down, and never sends a kill to a second address', async () => {
    using target = startSleeper()
    const dead = `127.0.0.9:${await freePort()}`
    const pair = `upstream pair { server ${dead}; server ${address(servers.c)}; }`
    await using other = await startFront({ a: 'pair', b: dead, c: address(servers.c) }, (conf) => pair + conf)
    for (const name of ['a', 'b']) expect(await other.kill(name, { pid: target.pid })).toEqual(json(502, 'Bad Gateway'))
    expect(target.isAlive()).toBe(true)
    expect(await other.kill('c', { pid: target.pid })).toEqual(done())
  })
})
