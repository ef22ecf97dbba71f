import { readFileSync } from 'node:fs'
import { request } from 'node:https'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { describeConformance, type Peer } from '../runtimes/conformance.ts'
import { authority } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { freePort } from '../support/free-port.ts'
import { missingForNginx, startNginx } from '../support/nginx.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

const HOSTS = { a: '127.0.0.2', b: '127.0.0.3', c: '127.0.0.4' } as const
const names = ['a', 'b', 'c'] as const
type Name = (typeof names)[number]

/** Starts nginx with build/nginx.conf; only the addresses and the files of the certificate are the test's own. */
const startFront = async (addresses: Readonly<Record<Name, string>>, more = '') => {
  const folder = emptyFolder()
  const { ca, ...web } = authority(folder, 'web')
  const { certFile, keyFile } = web.issue('psys-kill', { alternative: 'IP:127.0.0.1' })
  const port = await freePort()
  const site = readFileSync(new URL('../../build/nginx.conf', import.meta.url), 'utf8')
    .replace('listen 443 ssl', `listen 127.0.0.1:${port} ssl`)
    .replace('/etc/nginx/psys-kill.crt', certFile)
    .replace('/etc/nginx/psys-kill.key', keyFile)
    .replace(/^ {2}([abc]) 10\.0\.0\.\d:3000;$/gm, (_line, host: Name) => `  ${host} ${addresses[host]};`)
  const nginx = await startNginx(more + site)
  return {
    url: `https://127.0.0.1:${port}`,
    ca,
    [Symbol.asyncDispose]: async () => {
      await nginx[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    },
  }
}

const needed = missingForNginx.length > 0 ? ` (needs ${missingForNginx.join()})` : ''

describe.skipIf(missingForNginx.length > 0)(`nginx in front of three hosts${needed}`, () => {
  const servers: Partial<Record<Name, RunningServer>> = {}
  let nginx: Awaited<ReturnType<typeof startFront>>

  beforeAll(async () => {
    const addresses = { a: '', b: '', c: '' }
    for (const name of names) {
      const args = ['--host', HOSTS[name], '--port', '0']
      const server = await startServer({ args, env: { PSYS_KILL_TOKEN: TOKEN } })
      servers[name] = server
      addresses[name] = new URL(server.url).host
    }
    nginx = await startFront(addresses)
  })
  afterAll(async () => {
    await nginx[Symbol.asyncDispose]()
    for (const name of names) await servers[name]?.[Symbol.asyncDispose]()
  })

  const kill = (
    name: string,
    body: object,
    headers: Record<string, string> = { authorization: `Bearer ${TOKEN}` },
    through = nginx,
  ) =>
    new Promise<number | undefined>((resolve, reject) => {
      const options = { method: 'POST', ca: through.ca, headers: { 'content-type': 'application/json', ...headers } }
      const sending = request(`${through.url}/hosts/${name}/api/connections/kill`, options, (response) => {
        response.resume().on('end', () => resolve(response.statusCode))
      })
      sending.on('error', reject)
      sending.end(JSON.stringify(body))
    })

  describeConformance(['look'], () => ({
    url: `${nginx.url}/hosts/a`,
    ca: nginx.ca,
    has: ['look'],
    pid: servers.a?.child.pid ?? 0,
    headers: { authorization: `Bearer ${TOKEN}` },
    answers: [] as Peer['answers'],
  }))

  test('kills on the host that the path names, and asks no other', async () => {
    for (const name of names) {
      using target = await startTarget()
      expect(await kill(name, { pid: target.pid })).toBe(200)
      expect(await target.ended).toBe('SIGTERM')
      await servers[name]?.record(({ pid }) => pid === target.pid)
      const killers = names.filter((each) => servers[each]?.records.some(({ pid }) => pid === target.pid))
      expect(killers).toEqual([name])
    }
  })

  test.each(['d', 'A', '', 'a/../b', 'a%2f..', '10.0.0.1:3000'])('has no host named %j', async (name) => {
    expect(await kill(name, { pid: 0 })).toBe(name === 'a/../b' ? 400 : 404)
  })

  test('leaves the token to the hosts', async () => {
    using target = await startTarget()
    expect(await kill('a', { pid: target.pid }, {})).toBe(401)
    expect(target.isAlive()).toBe(true)
  })

  test('has patience for the longest wait that can be asked for', () => {
    const [, seconds] =
      /proxy_read_timeout (\d+)s/.exec(readFileSync(new URL('../../build/nginx.conf', import.meta.url), 'utf8')) ?? []
    expect(Number(seconds)).toBeGreaterThan(60)
  })

  test('waits for an exit', async () => {
    using target = await startTarget("process.on('SIGTERM', () => {})")
    expect(await kill('c', { pid: target.pid, waitMs: 1500 })).toBe(200)
    expect(target.isAlive()).toBe(true)
  })

  test('signals on no second host where the name of one has several addresses', async () => {
    using target = await startTarget()
    const dead = `127.0.0.9:${await freePort()}`
    const upstream = `upstream pair { server ${dead}; server ${new URL(servers.c?.url ?? '').host}; }`
    await using other = await startFront({ a: 'pair', b: dead, c: dead }, upstream)
    expect(await kill('a', { pid: target.pid }, undefined, other)).toBe(502)
    expect(target.isAlive()).toBe(true)
  })

  test('answers 502 for a host that is down, and for that one alone', async () => {
    await servers.b?.stop()
    expect(await kill('b', { pid: 0 })).toBe(502)
    expect(await kill('a', { pid: 0 })).toBe(400)
    expect(await kill('c', { pid: 0 })).toBe(400)
  })
})
