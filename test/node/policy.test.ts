import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { SignallerReason } from '../../src/app/signaller.ts'
import { type NodeSignallerOptions, nodeSignaller } from '../../src/node/index.ts'
import { expectNoSignal, fakeFiles, pretendPlatform } from '../support/fakes.ts'
import { needsLinux, needsRoot } from '../support/needs.ts'
import { startAs, startNamed, startSleeper, startZombie, type Target } from '../support/processes.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())
beforeEach(needsLinux)

const [ALICE, BOB] = [65_531, 65_532]

/** Policy comes before the conditions. */
const expectSpared = (pid: number, options: NodeSignallerOptions, reason: SignallerReason = 'protected') =>
  expectNoSignal(pid, { code: 'EPERM', reason, command: expect.any(String) }, options, { instance: 'x' })

const expectKilled = async ({ pid, ended }: Target, options: NodeSignallerOptions) => {
  expect(nodeSignaller(options).terminate(pid)).toMatchObject({ code: 'sent' })
  expect(await ended).toBe('SIGTERM')
}

test('protected are PID 1 and this process, and each PID of the option, a zombie too, and no other PID', async () => {
  using first = startSleeper()
  using second = startSleeper()
  using named = await startNamed(`${first.pid}`)
  using zombie = await startZombie()
  const protect = [first.pid, `${second.pid}`, zombie.pid]
  for (const pid of [1, process.pid]) expectSpared(pid, {})
  for (const pid of [1, process.pid, first.pid, second.pid, zombie.pid]) expectSpared(pid, { protect })
  await expectKilled(named, { protect })
})

test('protected is each process with a name of the option, and no other', async () => {
  using first = await startNamed('postgres')
  using second = await startNamed('postgres')
  for (const { pid } of [first, second]) expectSpared(pid, { protect: [1, 'sshd', 'postgres'] })
  await expectKilled(first, { protect: ['postgre', 'Postgres', 'ostgres', 'POSTGRES'] })
  await expectKilled(second, { protect: [] })
  // The kernel cuts names to 15 bytes.
  using long = await startNamed('ééééééééé')
  expectSpared(long.pid, { protect: ['ééééééééé and more'] })
  await expectKilled(long, { protect: ['ééééééé'] })
  using zombie = await startZombie()
  const { terminate } = nodeSignaller({ protect: ['sleep'], onlyUids: [] })
  expect(terminate(zombie.pid)).toMatchObject({ code: 'ESRCH', reason: 'zombie' })
})

const MALFORMED = [' 5', '5 ', '-5', '', '0', 0, -5, 1.5, 2 ** 31, 'postgres ', ' postgres']
const NEITHER = new TypeError('protect takes PIDs and names of processes')
test.each(MALFORMED)('protect takes PIDs and names alone, and not %j', (entry) => {
  expect(() => nodeSignaller({ protect: [entry] })).toThrow(NEITHER)
})

test.each([
  ['the parent, as in node:cluster and PM2, and no sibling, if there is an IPC channel', 'ipc', 'EPERM'],
  ['not the parent without one', 'ignore', 'would send'],
] as const)('protected is %s', async (_, channel, code) => {
  using sibling = startSleeper()
  const lib = new URL('../../build/dist/lib/node/index.js', import.meta.url)
  const script = `import('${lib}').then(({ nodeSignaller }) => {
    const codes = [process.ppid, ${sibling.pid}].map((pid) => nodeSignaller().terminate(pid, { dryRun: true }).code)
    console.log(codes.join())
    process.exit()
  })`
  const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit', channel] })
  expect(child.stdout && (await text(child.stdout))).toBe(`${code},would send\n`)
})

test.for([
  ["Alice's process", ALICE, ALICE],
  ["root's process", 0, 0],
  ['a setuid program of root', ALICE, 0],
  ['a server of root that has put on a user', 0, ALICE],
  ['a setuid program of another user', ALICE, BOB],
] as const)('onlyUids spares %s unless both its user ids are listed', async ([, real, effective], context) => {
  needsRoot(context)
  using target = await startAs(real, effective)
  const look = nodeSignaller().terminate(target.pid, { dryRun: true })
  expect(look).toMatchObject({ process: { uid: effective } })
  const others = [0, ALICE, BOB, 1]
  expectSpared(target.pid, { onlyUids: [] }, 'uid')
  for (const id of [real, effective])
    expectSpared(target.pid, { onlyUids: others.filter((other) => other !== id) }, 'uid')
  await expectKilled(target, { onlyUids: [...new Set([real, effective])] })
})

test('onlyUids spares a process that tells no user id', async () => {
  using target = startSleeper()
  using _ = await fakeFiles({ [`/proc/${target.pid}/status`]: { text: 'Uid:\t0\n' } })
  expectSpared(target.pid, { onlyUids: [0] }, 'uid')
})

test.each([
  ['linux', 'a usable /proc'],
  ['darwin', 'Linux'],
  ['win32', 'Linux'],
] as const)('without /proc on %s, names and user ids are an error: they need %s', async (platform, what) => {
  using _ = pretendPlatform(platform)
  using __ = await fakeFiles({ '/proc/self/stat': { error: 'ENOENT' } })
  const error = `Names in protect, and onlyUids, need ${what}: leave them out`
  for (const options of [{ protect: [process.ppid, 'sshd'] }, { onlyUids: [0] }, { onlyUids: [] }])
    expect(() => nodeSignaller(options)).toThrow(error)
  const { terminate } = nodeSignaller({ protect: [process.ppid, '4'] })
  expect(terminate(process.ppid)).toEqual({ code: 'EPERM', reason: 'protected' })
})
