import { once } from 'node:events'
import { serve } from '@hono/node-server'
import { Hono } from 'hono'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/contract.ts'
import { createApp, remoteSignaller } from '../../src/index.ts'
import { requireToken } from '../../src/server/index.ts'
import { startDeaf, startSleeper } from '../support/processes.ts'
import { type RunningServer, startServer } from '../support/server.ts'

const TOKEN = 'the-token-of-the-gateway'
const PEER_TOKEN = 'the-token-of-its-peers'

describe('a gateway to single files', () => {
  const peers: RunningServer[] = []
  const causes: unknown[] = []
  let gateway: ReturnType<typeof serve>
  const kill = async (peer: number, body: object, token = TOKEN) => {
    const address = gateway.address()
    const url = `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/hosts/${peer}${KILL_PATH}`
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${token}`, connection: 'close' }
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
    const reason = response.headers.get('psys-kill-reason')
    return { status: response.status, text: await response.text(), reason }
  }

  beforeAll(async () => {
    const app = new Hono().use(requireToken(TOKEN))
    for (const index of [0, 1]) {
      const peer = await startServer({ env: { PSYS_KILL_TOKEN: PEER_TOKEN } })
      peers.push(peer)
      const signaller = remoteSignaller({ url: peer.url, token: PEER_TOKEN })
      app.route(`/hosts/${index}`, createApp({ signaller, onError: (cause) => causes.push(cause) }))
    }
    gateway = serve({ fetch: app.fetch, hostname: '127.0.0.1', port: 0 })
    await once(gateway, 'listening')
  })
  afterAll(async () => {
    gateway.close()
    for (const peer of peers) await peer[Symbol.asyncDispose]()
  })

  test('passes on instance, waitMs, dryRun and comment, and the reason of a refusal', async () => {
    using target = startSleeper()
    using deaf = await startDeaf()
    const { instance } = JSON.parse((await kill(0, { pid: target.pid, dryRun: true })).text).process
    const other = { pid: deaf.pid, instance }
    expect(await kill(0, other)).toMatchObject({ status: 404, reason: 'other instance' })
    expect(await kill(0, { pid: deaf.pid, waitMs: 1 })).toMatchObject({ text: '{"ok":true,"exited":false}' })
    const same = { pid: target.pid, instance, waitMs: 60_000, comment: 'by the gateway' }
    expect(await kill(0, same)).toMatchObject({ text: '{"ok":true,"exited":true}' })
    await peers[0]?.record(({ comment, outcome }) => comment === 'by the gateway' && outcome === 'exited')
  })

  test('answers 500 for a peer that is down, and for that one alone', async () => {
    const peer = peers[0]?.child.pid
    expect(await kill(0, { pid: peer })).toMatchObject({ status: 403, reason: 'protected' })
    await peers[1]?.stop()
    expect(await kill(1, { pid: peer })).toMatchObject({ status: 500, text: '{"error":"Failed to kill process"}' })
    expect(causes).toMatchObject([{ cause: { code: 'ECONNREFUSED' } }])
    expect(await kill(0, { pid: peer })).toMatchObject({ status: 403 })
  })
})
