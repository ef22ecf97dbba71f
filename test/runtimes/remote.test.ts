import type { RequestListener } from 'node:http'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { startPeer } from '../support/peer.ts'
import { runToEnd } from '../support/server.ts'
import { denoEnv, runtimes } from './runtimes.ts'

const FORWARD = fileURLToPath(new URL('forward.ts', import.meta.url))

const answers: [name: string, answer: RequestListener][] = [
  ['421', (_request, response) => response.writeHead(421).end()],
  ['503', (_request, response) => response.writeHead(503, { 'retry-after': '0' }).end()],
  ['308', (_request, response) => response.writeHead(308, { location: '/elsewhere' }).end()],
  ['a reset connection', (request) => request.socket.resetAndDestroy()],
  ['a closed connection', (request) => request.socket.end()],
]

describe.each(['Node 22', 'Node 24', 'Node 26', 'Deno', 'Bun'] as const)('remoteSignaller on %s', (runtime) => {
  const command = runtime === 'Deno' ? ['run', '--no-lock', '--allow-all', FORWARD] : [FORWARD]

  // The second kill uses the connection of the first. There a runtime may think it safe to try again.
  test.each(answers)('sends once if the answer is %s', async (_name, answer) => {
    using peer = await startPeer((request, response) =>
      peer.bodies.length === 1 ? response.end('{"ok":true}') : answer(request, response),
    )
    const { stdout } = await runToEnd([peer.url], denoEnv(), [runtimes[runtime], ...command])
    expect(stdout).toBe('sent\nthrown\n')
    expect(peer.bodies).toHaveLength(2)
  })
})
