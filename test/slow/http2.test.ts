import { once } from 'node:events'
import { connect, createSecureServer } from 'node:http2'
import { getRequestListener } from '@hono/node-server'
import { getConnInfo } from '@hono/node-server/conninfo'
import { expect, test, vi } from 'vitest'
import { nodeSignaller } from '../../src/node/node-signaller.ts'
import { createServerApp } from '../../src/server/server-app.ts'
import { emptyFolder } from '../support/folder.ts'
import { needsOpenssl } from '../support/needs.ts'
import { KILL } from '../support/post.ts'
import { startSleeper, startTarget } from '../support/processes.ts'
import { TOKEN } from '../support/server.ts'
import { authority, LOOPBACK } from '../support/tls.ts'

test('behind node:http2 it checks :authority and token, kills, and ends a wait with its stream', async (context) => {
  needsOpenssl(context)
  using folder = emptyFolder()
  const { ca, issue } = authority(folder, 'ours')
  const { cert, key } = issue('server', LOOPBACK)
  const records: Record<string, unknown>[] = []
  const log = { write: (line: string) => void records.push(JSON.parse(line)), getConnInfo }
  const { fetch } = createServerApp({ signaller: nodeSignaller(), log, token: TOKEN, hosts: ['127.0.0.1'] })
  const server = createSecureServer({ cert, key }, getRequestListener(fetch)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const client = connect(`https://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`, { ca })
  const open = (body: unknown, headers: Record<string, string> = {}) => {
    const all = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json', ...headers }
    const stream = client.request({ ':method': 'POST', ':path': KILL, ...all })
    stream.end(JSON.stringify(body))
    return stream
  }
  const ask = async (...request: Parameters<typeof open>) => {
    const stream = open(...request)
    const [headers] = await once(stream, 'response')
    const text = (await stream.setEncoding('utf8').toArray()).join('')
    return `${headers[':status']} ${text} ${headers['psys-kill-reason']}`
  }
  const recordOf = (pid: number, outcome: string) =>
    vi.waitFor(() => expect(records).toContainEqual(expect.objectContaining({ pid, outcome })), 20_000)

  using target = startSleeper()
  const { pid } = target
  expect(await ask({ pid }, { ':authority': 'evil.example' })).toBe('403 {"error":"Host not allowed"} host')
  expect(await ask({ pid }, { authorization: '' })).toBe('401 {"error":"Unauthorized"} token unknown')
  expect(target.isAlive()).toBe(true)
  expect(await ask({ pid, waitMs: 5000 })).toBe('200 {"ok":true,"exited":true} undefined')
  expect(records.at(-1)).toMatchObject({ remote: '127.0.0.1', outcome: 'exited' })

  using deaf = await startTarget("process.on('SIGTERM', () => {})")
  const left = open({ pid: deaf.pid, waitMs: 60_000 })
  await recordOf(deaf.pid, 'sent')
  left.close(8)
  await recordOf(deaf.pid, 'running')
  client.close()
  server.close()
})
