// npm run bench [-- --quick] [-- --json FILE] [-- --beside FILE]: this server beside what people would write instead, in
// one run. --quick only checks that it works. --beside adds another single file, of an older release for example.
// No figure makes it fail. A rival that does another job than ours makes it fail.
import { statSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bytesByPackage } from './bundle.mjs'
import { startSurvivor, stopChild } from './children.mjs'
import { GENERATOR, load, warmUp } from './load.mjs'
import { judged, table, targetTable } from './report.mjs'
import { assertSameJob } from './same-job.mjs'
import { addServer, BUILT_FILE, FASTIFY, FLOOR, HONO, LIKE, OURS, start } from './servers.mjs'
import { turned } from './stats.mjs'
import { costOfWaiting } from './waits.mjs'

const { quick, json, beside } = parseArgs({
  options: { quick: { type: 'boolean' }, json: { type: 'string' }, beside: { type: 'string' } },
}).values
const ROUNDS = quick ? 1 : 7
const STARTS = quick ? 1 : 21
const BESIDE = 'beside'
if (beside) addServer(BESIDE, beside)
const RIVALS = [OURS, LIKE, FASTIFY, HONO, ...(beside ? [BESIDE] : [])]
/** How long a start takes to settle, in milliseconds. */
const IDLE_MS = 200

const target = await startSurvivor()
const KILL = { status: 200, body: { pid: target.pid } }
const OLDER = beside ? { [BESIDE]: 1 / 1.1 } : {}
const CASES = [
  { ...KILL, atLeast: { [LIKE]: 0.75, ...OLDER } },
  { status: 400, body: { pid: '12abc' }, atLeast: { [LIKE]: 0.6, ...OLDER } },
  // Above every pid_max, so that it never becomes somebody's while the benchmark runs.
  { status: 404, body: { pid: 2 ** 31 - 1 }, atLeast: { [LIKE]: 0.75, ...OLDER } },
]
const VARIANTS = [
  { title: 'with a token', name: 'with a token', question: KILL },
  { title: 'with --quiet', name: '--quiet', question: KILL },
]

const measures = new Map()
/** Adds a sample of what is the less the better. */
const add = (title, name, value, options = {}) => {
  const measure = measures.get(title) ?? { title, digits: 1, ...options, samples: {} }
  measures.set(title, measure)
  const values = measure.samples[name] ?? []
  measure.samples[name] = [...values, value]
}

const progress = (text) => process.stderr.write(`${text}\n`)

for (let round = 0; round < STARTS; round++)
  for (const name of turned([...RIVALS, FLOOR], round)) {
    const server = await start(name)
    const cpuMs = server.cpuSeconds() * 1000
    await sleep(IDLE_MS)
    add('start to first response, ms', name, server.startMs, { atLeast: { [FLOOR]: 1 / 1.5, [FASTIFY]: 2 } })
    add('start, processor time, ms', name, cpuMs)
    add('memory idle, MB', name, server.memoryNow(), { atLeast: { [FLOOR]: 1 / 1.1 } })
    await server.stop()
  }
progress(`${STARTS} starts`)

// All servers of a round run at once, because idle ones cost nothing. So rivals are measured within seconds.
for (let round = 0; round < ROUNDS; round++) {
  const names = turned(RIVALS, round)
  const variants = round % 2 === 0 ? VARIANTS : []
  const servers = {}
  for (const name of [...names, ...variants.map(({ name }) => name)]) servers[name] ??= await start(name)
  const rivals = names.map((name) => servers[name])
  if (round === 0)
    await assertSameJob(
      rivals.filter(({ name }) => name !== BESIDE),
      target,
    )
  if (!quick) for (const question of CASES) for (const server of Object.values(servers)) await warmUp(server, question)
  for (const { atLeast, ...question } of CASES)
    for (const rival of rivals) {
      const { cpuMicros, p99 } = await load(rival, question)
      add(`${question.status}, processor time, µs`, rival.name, cpuMicros, { atLeast })
      add(`${question.status}, p99, ms`, rival.name, p99, { atLeast: { [LIKE]: 1 / 1.3 } })
    }
  for (const { title, name, question } of variants)
    add(`200 ${title}, processor time, µs`, OURS, (await load(servers[name], question)).cpuMicros)
  for (const { name, memoryPeak } of rivals) add('memory at peak, MB', name, memoryPeak())
  for (const server of Object.values(servers)) await server.stop()
  progress(`round ${round + 1} of ${ROUNDS}`)
}

const waiter = await start(OURS)
const waiting = await costOfWaiting(waiter, target.pid, quick ? { seconds: 1 } : {})
await waiter.stop()
await stopChild(target)

const machine = `Node ${process.version}, ${cpus()[0].model}, one core, ${GENERATOR}, ${ROUNDS} rounds, ${STARTS} starts`
const bundle = { total: statSync(BUILT_FILE).size, ...(await bytesByPackage()) }
const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`
const results = judged([...measures.values()], OURS)
console.log(`
${table(results, [...RIVALS, FLOOR], OURS)}

${machine}; medians. In brackets: so many times as much as psys-kill takes, the median of each round's ratio.

${quick ? 'With --quick the servers are cold, and the figures mean nothing.' : targetTable(results)}

- 256 clients that wait for an exit: ${waiting.toFixed(1)} % of a core (target: ≤ 5)
- the single file: ${kB(bundle.total)} (target: ≤ 120), of which ${Object.entries(bundle)
  .slice(1)
  .map(([name, bytes]) => `${name} ${kB(bytes)}`)
  .join(', ')}`)
if (json) writeFileSync(json, `${JSON.stringify({ machine, measures: results, waiting, bundle }, null, 2)}\n`)
