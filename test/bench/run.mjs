// npm run bench [-- --quick] [-- --json FILE]: this project beside what people would use instead, in one run on one machine.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { statSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { GENERATOR, load } from './load.mjs'
import { SERVERS, start } from './servers.mjs'

const { quick, json } = parseArgs({ options: { quick: { type: 'boolean' }, json: { type: 'string' } } }).values
const ROUNDS = quick ? 5 : 9
const CONNECTIONS = quick ? [32] : [1, 32, 512]
const names = Object.keys(SERVERS)
const [LIKE, BARE] = names
const here = (path) => fileURLToPath(new URL(path, import.meta.url))

const sorted = (values) => values.toSorted((a, b) => a - b)
const median = (values) => sorted(values)[values.length >> 1]
const spread = (values) => [sorted(values)[values.length >> 2], sorted(values)[(values.length * 3) >> 2]]
const format = (value, digits = 0) =>
  value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits })

/** Runs a measurement for each server in turn, round by round; a ratio is the median of the rounds' ratios. */
const compare = async (rounds, measure) => {
  const samples = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++) for (const name of names) samples[name].push(await measure(name))
  return Object.fromEntries(
    names.map((name) => {
      const ratio = (to) => median(samples[name].map((value, round) => value / samples[to][round]))
      return [
        name,
        { median: median(samples[name]), quartiles: spread(samples[name]), toLike: ratio(LIKE), toBare: ratio(BARE) },
      ]
    }),
  )
}

const table = (title, digits, rows) => {
  const lines = names.map((name) => {
    const { median: middle, quartiles, toLike, toBare } = rows[name]
    const [low, high] = quartiles.map((value) => format(value, digits))
    return `| ${name} | ${format(middle, digits)} | ${low}–${high} | ${toLike.toFixed(2)} | ${toBare.toFixed(2)} |`
  })
  console.log(
    `\n| ${title} | median | quartiles | × like-for-like | × bare |\n|---|--:|--:|--:|--:|\n${lines.join('\n')}`,
  )
}

// A process that survives SIGTERM, and a PID that is nobody's any more.
const target = spawn(process.execPath, ['-e', 'process.on("SIGTERM",()=>{});setInterval(()=>{},1e6);console.log()'])
await once(target.stdout, 'data')
const gone = spawn(process.execPath, ['--version'])
await once(gone, 'exit')
const CASES = { 200: `{"pid":${target.pid}}`, 400: '{"pid":"12abc"}', 404: `{"pid":${gone.pid}}` }

const results = { node: process.version, generator: GENERATOR, date: new Date().toISOString() }
console.log(`Node ${process.version}, ${GENERATOR}, ${ROUNDS} rounds`)

results.start = await compare(quick ? 9 : 15, async (name) => {
  const server = await start(SERVERS[name])
  await server.stop()
  return server.startMs
})
table('spawn to first response, ms', 0, results.start)

const running = {}
for (const name of names) running[name] = await start(SERVERS[name])
const idle = Object.fromEntries(names.map((name) => [name, running[name].memory().idle]))

for (const [status, body] of Object.entries(CASES)) {
  for (const connections of CONNECTIONS) {
    const p99 = Object.fromEntries(names.map((name) => [name, []]))
    const rates = await compare(ROUNDS, async (name) => {
      const measured = await load({ url: running[name].url, body, connections, seconds: 1 })
      p99[name].push(measured.p99)
      return measured.rate
    })
    results[`${status} at ${connections}`] = {
      rates,
      p99: Object.fromEntries(names.map((name) => [name, median(p99[name])])),
    }
    table(`${status} at ${connections} connections, requests/s`, 0, rates)
    console.log(`\np99, ms: ${names.map((name) => `${name} ${median(p99[name]).toFixed(1)}`).join('; ')}`)
  }
}

const startedBefore = JSON.stringify({ pid: target.pid, startedBefore: new Date(Date.now() + 1e9) })
const plain = []
const dated = []
for (let round = 0; round < ROUNDS; round++) {
  const { url } = running['psys-kill']
  plain.push((await load({ url, body: CASES[200], connections: 32, seconds: 1 })).rate)
  dated.push((await load({ url, body: startedBefore, connections: 32, seconds: 1 })).rate)
}
results.startedBefore = median(dated.map((rate, round) => rate / plain[round]))
console.log(`\nwith startedBefore: ${results.startedBefore.toFixed(2)} × the requests/s without`)

results.waiting = Number(execFileSync(process.execPath, [here('waits.mjs')], { encoding: 'utf8' }))
console.log(`10,000 waiting clients: ${results.waiting} % of a core`)

results.memory = Object.fromEntries(
  names.map((name) => [name, { idle: idle[name], peak: running[name].memory().peak }]),
)
const share = (name, to, when) => (results.memory[name][when] / results.memory[to][when]).toFixed(2)
console.log('\n| resident memory, MB | idle | × bare | peak | × bare |\n|---|--:|--:|--:|--:|')
for (const name of names) {
  const { idle: now, peak } = results.memory[name]
  console.log(
    `| ${name} | ${format(now)} | ${share(name, BARE, 'idle')} | ${format(peak)} | ${share(name, BARE, 'peak')} |`,
  )
}
for (const server of Object.values(running)) await server.stop()
target.kill('SIGKILL')

results.bytes = statSync(here('../../build/dist/psys-kill.mjs')).size
const { metafile } = await build({
  entryPoints: [here('../../src/main.ts')],
  bundle: true,
  minify: true,
  platform: 'node',
  format: 'esm',
  write: false,
  metafile: true,
})
results.contributions = {}
for (const { inputs } of Object.values(metafile.outputs))
  for (const [input, { bytesInOutput }] of Object.entries(inputs)) {
    const name = input.match(/node_modules\/((?:@[^/]+\/)?[^/]+)/)?.[1] ?? 'psys-kill itself'
    results.contributions[name] = (results.contributions[name] ?? 0) + bytesInOutput
  }
console.log(`\nsingle file: ${format(results.bytes)} bytes; ${JSON.stringify(results.contributions)}`)
if (json) writeFileSync(json, `${JSON.stringify(results, null, 2)}\n`)
