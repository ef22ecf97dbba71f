import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { CONDITIONS, type Delivery, type ProcessSeen, type SignallerReason } from '../../src/app/signaller.ts'
import { nodeSignaller } from '../../src/node/index.ts'
import { expectNoSignal, fakeFiles, startedLater } from '../support/fakes.ts'
import { needsLinux, needsRoot } from '../support/needs.ts'
import { startAs, startCommand, startNamed, startSleeper, statField, targetOf } from '../support/processes.ts'

vi.mock('node:fs', { spy: true })

beforeEach(needsLinux)
afterEach(() => vi.restoreAllMocks())

const BOOT_ID = '/proc/sys/kernel/random/boot_id'

/** What a dry run tells of a process that it would signal. */
const look = (pid: number, { terminate } = nodeSignaller()): ProcessSeen => {
  const outcome = terminate(pid, { dryRun: true })
  if ('then' in outcome || !outcome.process) throw new Error(`It told ${JSON.stringify(outcome)}`)
  return outcome.process
}

const expectOther = (pid: number, conditions: Partial<Delivery>, reason: SignallerReason) =>
  expectNoSignal(pid, { code: 'ESRCH', reason, command: expect.any(String) }, {}, conditions)

test('a dry run calls kill(2) with signal 0 alone, at once, whatever else is asked', () => {
  using target = startSleeper()
  const { command, instance } = look(target.pid)
  const kill = vi.spyOn(process, 'kill')
  const onSignal = vi.fn()
  const all: Partial<Delivery>[] = [{}, { waitMs: 60_000 }, { command, instance }, { comment: 'just looking' }]
  const { terminate } = nodeSignaller()
  const would = { code: 'would send', command: 'sleep', process: expect.anything() }
  // A promise would not be equal.
  for (const asked of all) expect(terminate(target.pid, { ...asked, dryRun: true, onSignal })).toEqual(would)
  expect(kill.mock.calls).toEqual(all.map(() => [target.pid, 0]))
  expect(onSignal).not.toHaveBeenCalled()
})

test('a dry run tells the name, the user, the instance, and a start that is right to about a second', () => {
  // As after exec: the runtime is younger than its process.
  vi.spyOn(process, 'uptime').mockReturnValue(0)
  const before = Date.now()
  using target = startSleeper()
  const after = Date.now()
  const { startedAt = '', ...seen } = look(target.pid)
  const boot = readFileSync(BOOT_ID, 'utf8').replaceAll('-', '').slice(0, 16)
  const instance = `${boot}-${target.pid}-${statField(target.pid, 22)}`
  expect(seen).toEqual({ command: 'sleep', uid: process.getuid?.(), instance })
  expect(startedAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  expect(Date.parse(startedAt)).toBeGreaterThan(before - 1000)
  expect(Date.parse(startedAt)).toBeLessThan(after + 1000)
})

test('a dry run tells the effective user', async (context) => {
  needsRoot(context)
  using target = await startAs(65_531, 65_532)
  expect(look(target.pid).uid).toBe(65_532)
})

/** As in a container with lxcfs: less than the age of this process. */
const containerUptime = () => `${Number(statField(process.pid, 22)) / 100 + process.uptime() - 2} 0`

test.each<['startedAt' | 'instance', why: string, files: () => Parameters<typeof fakeFiles>[0]]>([
  ['startedAt', "uptime is a container's", () => ({ '/proc/uptime': { text: containerUptime() } })],
  ['startedAt', 'there is no uptime', () => ({ '/proc/uptime': { error: 'ENOENT' } })],
  ['instance', 'there is no boot id', () => ({ [BOOT_ID]: { error: 'ENOENT' } })],
  ['instance', 'the boot id is empty', () => ({ [BOOT_ID]: { text: '' } })],
])('a dry run leaves out %s if %s; what is left out is not supported', async (lost, _, files) => {
  using target = startSleeper()
  using __ = await fakeFiles(files())
  const { supports, terminate } = nodeSignaller()
  const { [lost]: left, ...rest } = look(target.pid)
  expect([left, Object.values(rest).includes(undefined)]).toEqual([undefined, false])
  expect(supports).toEqual(CONDITIONS.filter((name) => name !== lost))
  if (lost === 'startedAt') return
  expectNoSignal(target.pid, { code: 'no instance', command: 'sleep' }, {}, { instance: 'x' })
  expect(terminate(target.pid, { command: 'sleep' })).toMatchObject({ code: 'sent' })
})

test('an instance lets a kill through right after the start of the process: 300 times', async () => {
  const signaller = nodeSignaller()
  for (let i = 0; i < 300; i++) {
    using target = startSleeper()
    const { instance } = look(target.pid, signaller)
    expect(signaller.terminate(target.pid, { instance, command: 'sleep' })).toMatchObject({ code: 'sent' })
    expect(await target.ended).toBe('SIGTERM')
  }
})

test('an instance is compared for equality: no other text, no other PID, no other start, no other boot', async () => {
  using target = startSleeper()
  using other = startSleeper()
  const { instance = '' } = look(target.pid)
  for (const wrong of ['', `${instance}0`, instance.slice(0, -1), instance.slice(1), look(other.pid).instance])
    expectOther(target.pid, { instance: wrong }, 'other instance')
  expectOther(other.pid, { instance }, 'other instance')
  const path = `/proc/${target.pid}/stat`
  const stat = readFileSync(path, 'utf8')
  const starts = [-1, 1].map((ticks) => ({ [path]: { text: startedLater(stat, ticks) } }))
  for (const files of [...starts, { [BOOT_ID]: { text: '11111111-2222-3333-4444-555555555555\n' } }]) {
    using _ = await fakeFiles(files)
    expectOther(target.pid, { instance }, 'other instance')
  }
  expect(nodeSignaller().terminate(target.pid, { instance })).toMatchObject({ code: 'sent' })
})

test.each(["$0 = 'renamed'", "exec 'sleep', '600'"])(
  'an instance stays when a process does %s; its command does not',
  async (change) => {
    const script = `$SIG{USR1} = sub { ${change} }; $| = 1; print 1; sleep 600 while 1`
    using changing = targetOf((await startCommand(['perl', '-e', script])).child)
    const { pid, child } = changing
    const { command, instance } = look(pid)
    child.kill('SIGUSR1')
    await expect.poll(() => look(pid).command).not.toBe(command)
    expect(look(pid).instance).toBe(instance)
    expectOther(pid, { command, instance }, 'other command')
    expectOther(pid, { command, instance: `${instance}0` }, 'other instance')
    expect(nodeSignaller().terminate(pid, { instance })).toMatchObject({ code: 'sent' })
    expect(await changing.ended).toBe('SIGTERM')
  },
)

test('a command is met by a process of exactly that name, of which the kernel keeps 15 bytes', async () => {
  using target = startSleeper()
  for (const command of ['', 'slee', 'sleep ', 'Sleep', '/bin/sleep', 'sleep\0', 'sleep 600', 'sleepsleepsleepsleep'])
    expectOther(target.pid, { command }, 'other command')
  expect(nodeSignaller().terminate(target.pid, { command: 'sleep' })).toEqual({ code: 'sent', command: 'sleep' })
  const name = 'éééééééé and more'
  using long = await startNamed(name)
  for (const command of [name, look(long.pid).command])
    expect(nodeSignaller().terminate(long.pid, { command, dryRun: true })).toMatchObject({ code: 'would send' })
})
