// node test/bench/syscalls.mjs: the system calls of one request, counted by strace; needs the right to trace (root, say).
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Agent, request } from 'node:http'
import { startChild, startSurvivor, stopChild } from './children.mjs'
import { LIKE, OURS, start } from './servers.mjs'

const REQUESTS = 100
const WAITS = 10

const startSleeper = () => startChild('sleep', ['3600'])
const target = await startSurvivor()
const same = (body) => Array.from({ length: REQUESTS }, () => body)

/** For each path the bodies to send, one after the other on one connection. */
const PATHS = {
  200: () => same({ pid: target.pid }),
  400: () => same({ pid: '12abc' }),
  404: () => same({ pid: 2 ** 31 - 1 }),
  startedBefore: () => same({ pid: target.pid, startedBefore: new Date(Date.now() + 3_600_000) }),
  // Each ends a process of its own, which the second look finds dead.
  waitMs: () => Array.from({ length: WAITS }, () => ({ pid: startSleeper().pid, waitMs: 5000 })),
}

const post = (agent, { url, headers }, body) =>
  new Promise((resolve, reject) => {
    const text = JSON.stringify(body)
    const sent = request(url, { agent, method: 'POST', headers: { ...headers, 'Content-Length': text.length } })
    sent.on('error', reject).on('response', async (response) => {
      let text = ''
      for await (const chunk of response) text += chunk
      resolve(text)
    })
    sent.end(text)
  })

/** The calls a request by name, on all threads of the server, from the rows of `strace -c`: the third number is the calls. */
const countCalls = async (server, bodies) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  await post(agent, server, bodies[0].waitMs === undefined ? bodies[0] : {})
  const strace = spawn('strace', ['-c', '-f', '-U', 'calls,name', '-p', String(server.pid)])
  let text = ''
  strace.stderr.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  while (!text.includes('attached')) await Promise.race([once(strace.stderr, 'data'), once(strace, 'exit')])
  for (const body of bodies) await post(agent, server, body)
  strace.kill('SIGINT')
  await once(strace, 'close')
  agent.destroy()
  const rows = [...text.matchAll(/^ *(\d+) ([a-z]\w+)$/gm)].filter(([, , name]) => name !== 'total')
  assert.ok(rows.length > 0, text)
  return Object.fromEntries(rows.map(([, calls, name]) => [name, Number(calls) / bodies.length]))
}

const columns = {}
for (const name of [OURS, LIKE])
  for (const [path, bodies] of Object.entries(PATHS)) {
    if (name !== OURS && Number.isNaN(Number(path))) continue
    const server = await start(name)
    columns[`${path} ${name === OURS ? '' : name}`] = await countCalls(server, bodies())
    await server.stop()
  }
await stopChild(target)

const calls = [...new Set(Object.values(columns).flatMap(Object.keys))].toSorted()
const total = (counts) => Object.values(counts).reduce((sum, each) => sum + each, 0)
const cell = (count = 0) => (count === 0 ? '' : count.toFixed(1))
console.log(`
${[
  ['', ...Object.keys(columns)],
  ['---', ...Object.keys(columns).map(() => '--:')],
  ...calls.map((call) => [call, ...Object.values(columns).map((counts) => cell(counts[call]))]),
  ['all', ...Object.values(columns).map((counts) => cell(total(counts)))],
]
  .map((row) => `| ${row.join(' | ')} |`)
  .join('\n')}`)
