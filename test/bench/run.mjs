// npm run bench [-- --quick] [-- --json FILE] [-- --beside FILE]: this server beside what people would write instead, in
// one run. --quick only checks that it works. --beside adds another single file, of an older release for example.
// No figure makes it fail. A rival that does another job than ours makes it fail.
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bytesByPackage } from './bundle.mjs'
import { costOfWaiting, load, warmUp } from './load.mjs'
import { judged, table, targetTable } from './report.mjs'
import { assertSameJob } from './same-job.mjs'
import { BUILT_FILE, OURS, servers, start, startChild } from './servers.mjs'

const { quick, json, beside } = parseArgs({
  options: { quick: { type: 'boolean' }, json: { type: 'string' }, beside: { type: 'string' } },
}).values
const ROUNDS = quick ? 1 : 7
const STARTS = quick ? 1 : 21
if (beside) servers.beside = { file: beside }
const RIVALS = [OURS, 'like-for-like', 'plain Hono', ...(beside ? ['beside'] : [])]
const STARTED = [...RIVALS, 'Fastify', 'floor']
const VARIANTS = ['with a token', 'with --quiet']

// The kernel itself drops its SIGTERM, so that to be signalled costs it nothing.
const target = startChild('sh', ['-c', 'trap "" TERM; echo; exec sleep 3600'])
await once(target.stdout, 'data')
const KILL = { status: 200, body: { pid: target.pid } }
const CASES = [
  { ...KILL, atLeast: { 'like-for-like': 0.75, beside: 1 / 1.1 } },
  { status: 400, body: { pid: '12abc' }, atLeast: { 'like-for-like': 0.6, beside: 1 / 1.1 } },
  // Above every pid_max, so that it never becomes somebody's while the benchmark runs.
  { status: 404, body: { pid: 2 ** 31 - 1 }, atLeast: { 'like-for-like': 0.75, beside: 1 / 1.1 } },
]

const measures = {}
/** Adds a sample of what is the less the better. */
const add = (title, name, value, atLeast = {}) => {
  measures[title] ??= { title, atLeast, samples: {} }
  const { samples } = measures[title]
  samples[name] = [...(samples[name] ?? []), value]
}

/** The names in the order of a round, which turns, so that none is always behind the same one. */
const turned = (names, round) => names.map((_, index) => names[(index + round) % names.length])

for (let round = 0; round < STARTS; round++)
  for (const name of turned(STARTED, round)) {
    const server = await start(name)
    const cpuMs = server.cpuSeconds() * 1000
    // Until the start has settled.
    await sleep(200)
    add('start to first response, ms', name, server.startMs, { floor: 1 / 1.5, Fastify: 2 })
    add('start, processor time, ms', name, cpuMs)
    add('memory idle, MB', name, server.memory('VmRSS'), { floor: 1 / 1.1 })
    await server.stop()
  }
console.error(`${STARTS} starts`)

// All servers of a round run at once, because idle ones cost nothing. So rivals are measured within seconds.
for (let round = 0; round < ROUNDS; round++) {
  const started = []
  for (const name of [...turned(RIVALS, round), ...(round % 2 === 0 ? VARIANTS : [])]) started.push(await start(name))
  const rivals = started.slice(0, RIVALS.length)
  const alike = rivals.filter(({ name }) => name !== 'beside')
  if (round === 0) await assertSameJob(alike, target)
  for (const question of quick ? [] : CASES) for (const server of started) await warmUp(server, question)
  for (const { atLeast, ...question } of CASES)
    for (const rival of rivals) {
      const { cpuMicros, p99 } = await load(rival, question)
      add(`${question.status}, processor time, µs`, rival.name, cpuMicros, atLeast)
      add(`${question.status}, p99, ms`, rival.name, p99, { 'like-for-like': 1 / 1.3 })
    }
  for (const variant of started.slice(RIVALS.length))
    add(`200 ${variant.name}, processor time, µs`, OURS, (await load(variant, KILL)).cpuMicros)
  for (const { name, memory } of rivals) add('memory at peak, MB', name, memory('VmHWM'))
  for (const server of started) await server.stop()
  console.error(`round ${round + 1} of ${ROUNDS}`)
}

const waiter = await start(OURS)
const waiting = await costOfWaiting(waiter, target.pid, quick ? { seconds: 1 } : {})
await waiter.stop()
target.kill('SIGKILL')

const machine = `Node ${process.version}, ${cpus()[0].model}, one core, wrk, ${ROUNDS} rounds, ${STARTS} starts`
const packages = bytesByPackage()
const bundle = { total: statSync(BUILT_FILE).size, ...Object.fromEntries(packages) }
const kB = (bytes) => `${(bytes / 1000).toFixed(1)} kB`
const results = judged(Object.values(measures), OURS)
console.log(`
${table(results, STARTED)}

${machine}; medians. In brackets: so many times as much as psys-kill takes, the median of each round's ratio.

${quick ? 'With --quick the servers are cold, and the figures mean nothing.' : targetTable(results)}

- 256 clients that wait for an exit: ${waiting.toFixed(1)} % of a core (target: ≤ 5)
- the single file: ${kB(bundle.total)} (target: ≤ 120), of which ${packages.map(([name, bytes]) => `${name} ${kB(bytes)}`).join(', ')}`)
if (json) writeFileSync(json, JSON.stringify({ machine, measures: results, waiting, bundle }, null, 2))
