import { randomInt } from 'node:crypto'
import { chmodSync, copyFileSync, readdirSync, readFileSync } from 'node:fs'
import type { Scene } from './asking.ts'
import { differencesIn } from './differential.ts'
import { emptyFolder } from './folder.ts'
import type { Being, Place } from './oracle-model.ts'
import { startCommand, startSleeper, startZombie, untilNamed } from './processes.ts'
import { BUILT_FILE, startServer } from './server.ts'
import { startTarget } from './target.ts'
import { TOKEN } from './token.ts'

const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']
// What is ignored stays so for what the shell becomes.
const DEAF = ['sh', '-c', 'trap "" TERM; echo up; exec sleep 600']

interface Setting {
  args?: readonly string[]
  env?: Readonly<Record<string, string>>
  uid?: number
  place?: Partial<Place>
}

const settings = (protectedPid: number, socket: string): Readonly<Record<string, Setting>> => ({
  'as it is': {},
  'a token': { env: { PSYS_KILL_TOKEN: TOKEN }, place: { token: TOKEN } },
  // Beyond loopback the token is what protects.
  'a token, on all addresses': {
    args: ['--host', '0.0.0.0'],
    env: { PSYS_KILL_TOKEN: TOKEN },
    place: { token: TOKEN, hosts: 'any' },
  },
  'hosts and origins': {
    args: ['--allow-host', 'kill.example,10.0.0.1', '--allow-origin', 'https://tools.example,http://localhost:5173'],
    place: {
      hosts: [...LOOPBACK, 'kill.example', '10.0.0.1'],
      origins: ['https://tools.example', 'http://localhost:5173'],
    },
  },
  'a protected process': { args: ['--protect', String(protectedPid)] },
  'a socket': { args: ['--socket', socket], place: { hosts: 'any' } },
  ...(process.getuid?.() === 0 ? { 'no rights': { uid: 65534, place: { powerless: true } } } : {}),
})

const threadsOf = (pid: number) =>
  readdirSync(`/proc/${pid}/task`)
    .map(Number)
    .filter((tid) => tid !== pid)
const nameOf = (pid: number) => readFileSync(`/proc/${pid}/comm`, 'latin1').trim()

/**
 * Asks random requests of servers with all kinds of settings and resolves with the answers, status and body. Throws where
 * one is not the oracle's. The same seed asks the same again, but for the PIDs.
 */
export const compareWithOracle = async ({ requests, seed }: { requests: number; seed: number }) => {
  using folder = emptyFolder()
  // The server without rights must be able to read it.
  chmodSync(folder.path, 0o755)
  copyFileSync(BUILT_FILE, folder.file('psys-kill.cjs'))
  using canary = startSleeper()
  using guarded = startSleeper()
  using threaded = await startTarget()
  using deaf = await startCommand(DEAF)
  await untilNamed(deaf.child.pid, 'sleep')
  using zombie = await startZombie()
  const pidMax = Number(readFileSync('/proc/sys/kernel/pid_max', 'latin1'))
  const nobody = [pidMax + 1, pidMax * 2, 2 ** 31 - 1, 2 ** 31, 2 ** 32 + canary.pid, Number.MAX_SAFE_INTEGER]
  const all = Object.entries(settings(guarded.pid, folder.file('socket')))

  const results = await Promise.all(
    all.map(async ([name, { args = [], place = {}, ...options }], index) => {
      const port = args.includes('--socket') ? [] : ['--port', '0']
      // In a group of its own: whatever it does with the PID 0 it does to itself.
      const command = ['setsid', process.execPath, folder.file('psys-kill.cjs')]
      await using server = await startServer({ command, args: [...port, ...args], ...options })
      const pid = server.child.pid ?? 0
      const beings = new Map<number, Being>()
      const add = (kind: Being['kind'], ids: readonly number[]) => {
        for (const id of ids) beings.set(id, { kind, command: nameOf(id) })
      }
      add('thread', [...threadsOf(pid).slice(0, 2), ...threadsOf(threaded.pid).slice(0, 2)])
      add('zombie', [zombie.pid])
      add('never', [pid, ...(args.includes('--protect') ? [guarded.pid] : [])])
      const scene: Scene = {
        server,
        place: { hosts: LOOPBACK, origins: [], beings, ...place },
        canary: canary.pid,
        deaf: deaf.child.pid ?? 0,
        others: [...beings.keys(), ...nobody],
      }
      const share = Math.ceil(requests / all.length)
      const { problems, answers } = await differencesIn(scene, { seed: seed + index * requests, requests: share })
      const said = server.stderr().replace(/^psys-kill: Every local user can .*\n/, '')
      if (said) problems.push(`On standard error: ${said}`)
      const words = server
        .stdout()
        .split('\n')
        .slice(1)
        .filter((line) => !line.includes('"message":"stopping on SIGTERM"'))
      const strange = words.filter(
        (line) => (line !== '' && !line.startsWith('{"time":')) || line.includes('"message":'),
      )
      problems.push(...strange.map((line) => `On standard output: ${line}`))
      return { problems: problems.map((text) => `${name}: ${text}`), answers }
    }),
  )
  const problems = results.flatMap((result) => result.problems)
  for (const [name, { isAlive }] of Object.entries({ canary, guarded, threaded }))
    if (!isAlive()) problems.push(`Dead: ${name}`)
  if (deaf.child.exitCode !== null || deaf.child.signalCode !== null) problems.push('Dead: the deaf one')
  if (problems.length > 0)
    throw new Error([`${problems.length} differences with seed ${seed}:`, ...problems.slice(0, 10)].join('\n\n'))
  return results.flatMap(({ answers }) => answers)
}

/** A seed for this run, said so that a failure can be had again with it in the variable SEED. */
export const randomSeed = () => {
  const seed = Number(process.env['SEED'] ?? randomInt(2 ** 24))
  console.log(`SEED=${seed}`)
  return seed
}
