// Prints what 10,000 waiting clients cost: per cent of a core, over some seconds, in one process.
import { spawn } from 'node:child_process'
import { createApp } from '../../build/dist/lib/index.js'
import { nodeSignaller } from '../../build/dist/lib/node.js'

const SECONDS = 4
const target = spawn(process.execPath, ['-e', 'process.on("SIGTERM",()=>{});setInterval(()=>{},1e6);console.log()'])
await new Promise((resolve) => target.stdout.once('data', resolve))
const app = createApp({ signaller: nodeSignaller() })
const body = JSON.stringify({ pid: target.pid, waitMs: (SECONDS + 3) * 1000 })
const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body }
const waiting = Promise.all(Array.from({ length: 10_000 }, () => app.request('/api/connections/kill', request)))
await new Promise((resolve) => setTimeout(resolve, 2000))
const before = process.cpuUsage()
await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000))
const { user, system } = process.cpuUsage(before)
await waiting
target.kill('SIGKILL')
console.log(((user + system) / 1e4 / SECONDS).toFixed(1))
