import { once } from 'node:events'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { createApp, remoteSignaller } from '../../src/index.ts'
import { requireToken } from '../../src/server/index.ts'
import { describeConformance, type Peer } from '../runtimes/conformance.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'

const OUTER_TOKEN = 'the-token-of-the-gateway'
const PEER_TOKEN = 'the-token-of-its-peers'
const NAMES = ['a', 'b', 'c'] as const

const startGateway = async (peers: Readonly<Record<string, string>>) => {
  const gateway = new Hono().use(requireToken(OUTER_TOKEN))
  for (const [name, url] of Object.entries(peers))
    gateway.route(`/hosts/${name}`, createApp({ signaller: remoteSignaller({ url, token: PEER_TOKEN }), onError }))
  const server = serve({ fetch: gateway.fetch, hostname: '127.0.0.1', port: 0 })
  await once(server, 'listening')
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`,
    stop: () => server.close(),
  }
}

const causes: unknown[] = []
const onError = (cause: unknown) => causes.push(cause)

describe('a gateway to three machines', () => {
  const peers: Partial<Record<string, RunningServer>> = {}
  let gateway: Awaited<ReturnType<typeof startGateway>>
  const peer = (): Peer => ({
    url: `${gateway.url}/hosts/a`,
    has: ['look'],
    pid: peers['a']?.child.pid ?? 0,
    headers: { authorization: `Bearer ${OUTER_TOKEN}` },
    answers: [],
  })
  const kill = async (name: string, body: object, token = OUTER_TOKEN) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}` }
    const init = { method: 'POST', headers, body: JSON.stringify(body) }
    return (await fetch(`${gateway.url}/hosts/${name}${KILL_PATH}`, init)).status
  }

  beforeAll(async () => {
    for (const name of NAMES) peers[name] = await startServer({ env: { PSYS_KILL_TOKEN: PEER_TOKEN } })
    gateway = await startGateway(Object.fromEntries(NAMES.map((name) => [name, peers[name]?.url ?? ''])))
  })
  afterAll(async () => {
    gateway.stop()
    for (const name of NAMES) await peers[name]?.[Symbol.asyncDispose]()
  })

  describeConformance(['look'], peer)

  test('asks the one that the path names, and no other', async () => {
    for (const name of NAMES) {
      using target = await startTarget()
      expect(await kill(name, { pid: target.pid })).toBe(200)
      expect(await target.ended).toBe('SIGTERM')
      await peers[name]?.record(({ pid }) => pid === target.pid)
      const killers = NAMES.filter((each) => peers[each]?.records.some(({ pid }) => pid === target.pid))
      expect(killers).toEqual([name])
    }
    expect(await kill('d', { pid: 1 })).toBe(404)
  })

  test('asks none without the token', async () => {
    using target = await startTarget()
    expect(await kill('a', { pid: target.pid }, PEER_TOKEN)).toBe(401)
    expect(target.isAlive()).toBe(true)
  })

  test('fails for a machine that is down, and for that one alone', async () => {
    await peers['b']?.stop()
    expect(await kill('b', { pid: 1 })).toBe(500)
    expect(causes).toMatchObject([{ cause: { code: 'ECONNREFUSED' } }])
    expect(await kill('a', { pid: 1 })).toBe(403)
    expect(await kill('c', { pid: 1 })).toBe(403)
  })
})
