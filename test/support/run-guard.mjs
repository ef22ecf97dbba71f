// Runs until the pipe of the test run closes. Then it ends the processes that the run left behind (they have its mark in
// their environment), and removes its folders. It is a process of its own, because a runner that gets SIGKILL cannot
// clean up. With `list`, it only prints these processes.
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const [, , task, ...folders] = process.argv
const mark = `TEST_RUN=${folders[0]}`

const linux = () =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(mark)) return []
        return [[Number(pid), readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')]]
      } catch {
        // Gone, or another user's.
        return []
      }
    })

const others = () => {
  const options = { encoding: 'utf8', maxBuffer: 2 ** 26, stdio: ['ignore', 'pipe', 'ignore'] }
  const lines = execFileSync('ps', ['-axEww', '-o', 'pid=,command='], options).split('\n')
  const marked = lines.filter((line) => line.split(/\s+/).includes(mark))
  return marked.map((line) => [Number.parseInt(line, 10), line.trim().slice(0, 200)])
}

const left = () => {
  try {
    return (process.platform === 'linux' ? linux() : others()).filter(([pid]) => pid !== process.pid)
  } catch {
    // What cannot be seen is not killed.
    return []
  }
}

if (task === 'list') {
  for (const [pid, command] of left()) console.log(`${pid} ${command}`)
  process.exit()
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => {})
process.stdout.on('error', () => {})
process.stdin.on('error', () => {})
for await (const _ of process.stdin);
// The workers of a run that ends are on their way.
await sleep(100)
for (let round = 0; round < 100; round++) {
  const found = left()
  if (found.length === 0) break
  for (const [pid, command] of found) {
    console.log(`${pid} ${command}`)
    try {
      process.kill(pid, 'SIGKILL')
    } catch {}
  }
  await sleep(20)
}
for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
