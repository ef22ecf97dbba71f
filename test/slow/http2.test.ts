import { once } from 'node:events'
import { connect, createSecureServer } from 'node:http2'
import { getRequestListener } from '@hono/node-server'
import { beforeEach, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { nodeSignaller } from '../../src/node/node-signaller.ts'
import { createServerApp } from '../../src/server/server-app.ts'
import { authority, LOOPBACK } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { needsOpenssl } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

beforeEach(needsOpenssl)

test('over HTTP/2 it goes by :authority, asks for the token, kills, and waits until the client leaves', async () => {
  using folder = emptyFolder()
  const { ca, ...ours } = authority(folder, 'ours')
  const { cert, key } = ours.issue('server', LOOPBACK)
  const records: Record<string, unknown>[] = []
  const log = { write: (line: string) => void records.push(JSON.parse(line)) }
  const { fetch } = createServerApp({ signaller: nodeSignaller(), log, token: TOKEN, hosts: ['localhost'] })
  const server = createSecureServer({ cert, key }, getRequestListener(fetch)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  const client = connect(`https://localhost:${port}`, {
    ca,
    lookup: (_name, _options, found) => found(null, [{ address: '127.0.0.1', family: 4 }]),
  })
  const open = (body: unknown, headers: Record<string, string> = {}) => {
    const authorization = `Bearer ${TOKEN}`
    const type = { 'content-type': 'application/json' }
    const stream = client.request({ ':method': 'POST', ':path': KILL_PATH, authorization, ...type, ...headers })
    stream.end(JSON.stringify(body))
    return stream
  }
  const ask = async (...request: Parameters<typeof open>) => {
    const stream = open(...request)
    const [headers] = await once(stream, 'response')
    let text = ''
    for await (const chunk of stream.setEncoding('utf8')) text += chunk
    return `${headers[':status']} ${text}`
  }

  using target = startSleeper()
  const { pid } = target
  expect(await ask({ pid }, { ':authority': 'evil.example' })).toBe('403 {"error":"Host not allowed"}')
  expect(await ask({ pid }, { authorization: '' })).toBe('401 {"error":"Unauthorized"}')
  expect(target.isAlive()).toBe(true)
  expect(await ask({ pid, waitMs: 5000 })).toBe('200 {"ok":true,"exited":true}')

  using deaf = await startTarget("process.on('SIGTERM', () => {})")
  const left = open({ pid: deaf.pid, waitMs: 60_000 })
  await expect
    .poll(() => records.some(({ outcome, pid: killed }) => outcome === 'sent' && killed === deaf.pid))
    .toBe(true)
  left.close(8)
  await expect.poll(() => records.at(-1)).toMatchObject({ pid: deaf.pid, outcome: 'running' })
  client.close()
  server.close()
})
