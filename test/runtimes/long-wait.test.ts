import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { startTarget } from '../support/processes.ts'
import { startServer } from '../support/server.ts'
import { IGNORES } from './conformance.ts'
import { implementations, OTHER_USER, start } from './runtimes.ts'
import { gateway, startWorker } from './worker.ts'

/** Longer than a connection may be idle by default: on Bun, 10 s. */
const SILENT_MS = 12_500

const wait = async ({ url }: { url: string }) => {
  using target = await startTarget(IGNORES, OTHER_USER)
  const headers = { 'content-type': 'application/json' }
  const body = JSON.stringify({ pid: target.pid, waitMs: 15_000 })
  const answering = fetch(`${url}/api/connections/kill`, { method: 'POST', headers, body })
  const answered = answering.then((response) => response.text()).catch((error) => String(error.cause ?? error))
  await sleep(SILENT_MS)
  target.child.kill('SIGKILL')
  return answered
}

test('every runtime answers a wait of 15 s as soon as the process exits', async () => {
  const onWorkerd = async () => {
    await using peer = await startServer({ ...OTHER_USER })
    await using worker = await startWorker(gateway(peer.url, "hosts: ['127.0.0.1']"))
    return ['workerd', await wait(worker)]
  }
  const waits = implementations.map(async (implementation) => {
    await using server = await start(implementation)
    return [`${implementation.runtime}, ${implementation.what}`, await wait(server)]
  })
  const answers = await Promise.all([onWorkerd(), ...waits])
  expect(answers).toEqual(answers.map(([name]) => [name, '{"ok":true,"exited":true}']))
})
