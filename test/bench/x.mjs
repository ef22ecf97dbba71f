import { startSurvivor, stopChild } from './children.mjs'
import { load, warmUp } from './load.mjs'
import { FASTIFY, HONO, LIKE, OURS, start } from './servers.mjs'
const target = await startSurvivor()
const names = (process.argv[2] ?? 'psys-kill,like-for-like').split(',')
const servers = []
for (const n of names) servers.push(await start(n))
const Q = [{ status: 200, body: { pid: target.pid } }, { status: 400, body: { pid: '12abc' } }, { status: 404, body: { pid: 2 ** 31 - 1 } }]
const rows = process.argv[3] === '404' ? [Q[2]] : Q
for (const q of rows) for (const s of servers) await warmUp(s, q)
for (let k = 0; k < 3; k++) for (const q of rows) for (const s of servers) console.log(q.status, s.name, (await load(s, q)).cpuMicros.toFixed(1))
for (const s of servers) await s.stop()
await stopChild(target)
