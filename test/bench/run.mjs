// npm run bench [-- --quick] [-- --json FILE]: this server beside what people would use instead, in one run.
import assert from 'node:assert/strict'
import { statSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { bytesByPackage } from './bundle.mjs'
import { startSurvivor, stopChild } from './children.mjs'
import { GENERATOR, load } from './load.mjs'
import { table } from './report.mjs'
import { BUILT_FILE, SERVERS, start } from './servers.mjs'
import { interleave, ratio } from './stats.mjs'
import { costOfWaiting } from './waits.mjs'

const { quick, json } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'string' } } }).values
const ROUNDS = quick ? 3 : 7
const STARTS = quick ? 7 : 15
const CONNECTIONS = quick ? [32] : [1, 32, 512]
const OURS = 'psys-kill'
const LIKE = 'like-for-like'
const BARE = 'bare node:http'
const names = Object.keys(SERVERS)

const target = await startSurvivor()
const CASES = [
  { status: 200, body: { pid: target.pid }, target: '≥ 0.90' },
  { status: 400, body: { pid: '12abc' }, target: '≥ 0.80' },
  // Above every pid_max, so that it never becomes somebody's while the benchmark runs.
  { status: 404, body: { pid: 2 ** 31 - 1 }, target: '≥ 0.80' },
]

const measures = []
const measured = (title, samples, options) => {
  measures.push({ title, samples, ...options })
  process.stderr.write(`${title}\n`)
}
const pluck = (samples, field) =>
  Object.fromEntries(Object.entries(samples).map(([name, values]) => [name, values.map((value) => value[field])]))

const starts = await interleave(STARTS, names, async (name) => {
  const server = await start(SERVERS[name])
  const idleMb = server.memoryNow()
  await server.stop()
  return { startMs: server.startMs, idleMb }
})
measured('spawn to first response, ms', pluck(starts, 'startMs'), { target: '≤ 1.7 bare' })
measured('memory idle, MB', pluck(starts, 'idleMb'), { target: '≤ 1.25 bare' })

const servers = {}
for (const name of names) servers[name] = await start(SERVERS[name])

/** The answer of a server, so that none is fast because it does something else. */
const answer = async (name, body) => {
  const { url, headers } = servers[name]
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) })
  return { status: response.status, json: await response.json(), headers: [...response.headers.keys()] }
}
for (const { status, body } of CASES) {
  const ours = await answer(OURS, body)
  assert.equal(ours.status, status)
  assert.deepEqual(await answer(LIKE, body), ours)
  for (const name of names) assert.deepEqual((await answer(name, body)).json, ours.json, name)
}

const hit = async (name, body, connections) => {
  const { url, headers, cpuSeconds } = servers[name]
  const before = cpuSeconds()
  const { rate, p99 } = await load({ url, headers, body: JSON.stringify(body), connections })
  return { rate, p99, cpuMicros: ((cpuSeconds() - before) / rate) * 1e6 }
}
for (const name of names) await hit(name, CASES[0].body, 32)
for (const { status, body, target: atLeast } of CASES)
  for (const connections of CONNECTIONS) {
    const samples = await interleave(ROUNDS, names, (name) => hit(name, body, connections))
    const title = `${status} at ${connections} connection${connections > 1 ? 's' : ''}`
    measured(`${title}, requests/s`, pluck(samples, 'rate'), { target: atLeast })
    measured(`${title}, p99, ms`, pluck(samples, 'p99'), { target: '≤ 1.50', digits: 2 })
    measured(`${title}, processor time, µs/request`, pluck(samples, 'cpuMicros'), { digits: 1 })
  }
const peaks = names.map((name) => [name, [servers[name].memoryPeak()]])
measured('memory at peak, MB', Object.fromEntries(peaks), { target: '≤ 1.40 bare' })

const dated = { ...CASES[0].body, startedBefore: new Date(Date.now() + 3_600_000) }
const conditions = await interleave(ROUNDS, ['without', 'with'], (which) =>
  hit(OURS, which === 'with' ? dated : CASES[0].body, 32),
)
const rates = (name) => measures.find(({ title }) => title === '200 at 32 connections, requests/s').samples[name]
const shares = {
  'startedBefore: requests/s of those without it': ratio(
    pluck(conditions, 'rate').with,
    pluck(conditions, 'rate').without,
  ),
  'the log: requests/s of those with --quiet': ratio(rates(OURS), rates('--quiet')),
}
const waiting = await costOfWaiting(servers[OURS], target.pid)
for (const server of Object.values(servers)) await server.stop()
await stopChild(target)

const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0].model}, ${GENERATOR}, ${ROUNDS} rounds`
const bundle = { total: statSync(BUILT_FILE).size, ...(await bytesByPackage()) }
const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`
console.log(`
${table(measures, names, OURS, [LIKE, BARE])}

${machine}; medians ± half the distance of the quartiles; ratios are medians of the ratios of each round.

${Object.entries(shares)
  .map(([what, share]) => `- ${what}: ${share.toFixed(2)} ×`)
  .join('\n')}
- 4,000 clients that wait for an exit: ${waiting.toFixed(1)} % of a core (target: ≤ 10)
- the single file: ${kB(bundle.total)} (target: ≤ 100), of which ${Object.entries(bundle)
  .slice(1)
  .map(([name, bytes]) => `${name} ${kB(bytes)}`)
  .join(', ')}`)
if (json) writeFileSync(json, `${JSON.stringify({ machine, measures, shares, waiting, bundle }, null, 2)}\n`)
