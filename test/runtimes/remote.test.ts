import { execFile } from 'node:child_process'
import type { RequestListener } from 'node:http'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { startPeer } from '../support/peer.ts'
import { denoEnv, runtimes } from './runtimes.ts'

const FORWARD = fileURLToPath(new URL('forward.ts', import.meta.url))
const run = promisify(execFile)

const answers: [name: string, outcome: string, answer: RequestListener][] = [
  ['200', 'sent', (_request, response) => response.end('{"ok":true}')],
  ['421', 'thrown', (_request, response) => response.writeHead(421).end()],
  ['503', 'thrown', (_request, response) => response.writeHead(503, { 'retry-after': '0' }).end()],
  ['308', 'thrown', (_request, response) => response.writeHead(308, { location: '/elsewhere' }).end()],
  ['a reset connection', 'thrown', (request) => request.socket.resetAndDestroy()],
  ['a closed connection', 'thrown', (request) => request.socket.end()],
]

describe.each(['Node 22', 'Node 24', 'Node 26', 'Deno', 'Bun'] as const)('remoteSignaller on %s', (runtime) => {
  const command = runtime === 'Deno' ? ['run', '--no-lock', '--allow-all', FORWARD] : [FORWARD]
  const env = { PATH: process.env['PATH'], ...denoEnv() }

  // The second kill uses the connection of the first. There a runtime may think it safe to try again.
  test.each(answers)('sends once if the answer is %s', async (_name, outcome, answer) => {
    using peer = await startPeer((request, response) =>
      peer.requests() === 1 ? response.end('{"ok":true}') : answer(request, response),
    )
    const { stdout } = await run(runtimes[runtime], [...command, peer.url], { env, timeout: 20_000 })
    expect(stdout).toBe(`sent\n${outcome}\n`)
    expect(peer.requests()).toBe(2)
  })
})
