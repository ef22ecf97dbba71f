import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { CONDITIONS, type ProcessSeen } from '../../src/app/signaller.ts'
import {
  buildSignaller,
  noNamespaces,
  type SignallerProcess,
  startNamespace,
  withoutProc,
} from '../support/namespace.ts'
import { needsLinux } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'

const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
const MAY_KILL = [...NOBODY, '--inh-caps=+kill', '--ambient-caps=+kill']
const THREADED = `"${process.execPath}" -e "setInterval(() => {}, 1e6)"`

const signaller = await buildSignaller()
afterAll(() => signaller[Symbol.dispose]())

const look = async (pid: number, { terminate }: SignallerProcess): Promise<Partial<ProcessSeen>> =>
  (await terminate(pid, { dryRun: true })).process ?? {}

const expectNoProc = ({ supports }: SignallerProcess) => expect(supports).toEqual(['waitMs', 'dryRun'])

describe('in a namespace', () => {
  beforeEach(({ skip }) => skip(noNamespaces !== undefined, noNamespaces))

  const startIn = (enter: readonly string[], as: readonly string[] = [], protect?: readonly number[]) =>
    signaller.start([...enter, ...as, process.execPath], protect)

  const threadsOf = (pid: number, run: (script: string) => string) =>
    run(`ls /proc/${pid}/task | grep -vx ${pid}`).split('\n').map(Number)

  test.each(['1', '2', '4'])(
    'with hidepid=%s and a protected PID, it signals nothing that is hidden',
    async (hidepid) => {
      await using inside = await startNamespace()
      inside.run(`mount -t proc -o hidepid=${hidepid} proc /proc`)
      using victim = await inside.start({ run: THREADED })
      await expect.poll(() => threadsOf(victim.pid, inside.run).length).toBeGreaterThan(4)
      const threads = threadsOf(victim.pid, inside.run)
      using other = await inside.start()
      using own = await inside.start({ as: NOBODY })
      using guarded = await startIn(inside.enter, MAY_KILL, [victim.pid])
      expect(guarded.supports).toEqual(CONDITIONS)
      expect(await guarded.terminate(victim.pid)).toEqual({ code: 'EPERM', reason: 'protected' })
      for (const hidden of [...threads, other.pid])
        for (const asked of [{}, { instance: 'x' }, { waitMs: 0 }])
          expect(await guarded.terminate(hidden, asked)).toEqual({ code: 'EPERM', reason: 'hidden' })
      for (const id of threadsOf(guarded.pid, inside.run))
        expect(await guarded.terminate(id)).toMatchObject({ code: 'ESRCH', reason: 'thread' })
      expect(await guarded.terminate(Number(inside.run('echo $$')))).toEqual({ code: 'ESRCH' })
      const { instance } = await look(own.pid, guarded)
      expect(await guarded.terminate(own.pid, { instance, waitMs: 60_000 })).toMatchObject({ code: 'exited' })
      expect([victim.isAlive(), other.isAlive(), guarded.isAlive()]).toEqual([true, true, true])

      using unguarded = await startIn(inside.enter, MAY_KILL)
      expect(await unguarded.terminate(other.pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
      // The id of a thread reaches its process.
      expect(await unguarded.terminate(threads[0] ?? Number.NaN)).toEqual({ code: 'sent' })
      await victim.ended
    },
  )

  test.each([
    ['of another namespace', [], 'true'],
    ['that is not mounted', ['--mount-proc'], 'umount -l /proc'],
  ])('with a /proc %s, kill(2) decides', async (_, options, prepare) => {
    await using inside = await startNamespace(options)
    using target = await inside.start()
    inside.run(prepare)
    using own = await startIn(inside.enter)
    expectNoProc(own)
    for (const pid of [1, own.pid]) expect(await own.terminate(pid)).toEqual({ code: 'EPERM', reason: 'protected' })
    expect(await own.terminate(target.pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
    await target.ended
    expect(await own.terminate(target.pid)).toEqual({ code: 'ESRCH' })
    expect(inside.initSaid()).toBe('up\n')
  })

  test('with a boot time of its own it tells the start by its own clock, and knows the instance', async () => {
    await using inside = await startNamespace(['--mount-proc', '--time', '--boottime', '86400'])
    using own = await startIn(inside.enter)
    const before = Date.now()
    using target = await inside.start()
    const { instance, startedAt = '' } = await look(target.pid, own)
    expect(Date.parse(startedAt)).toBeGreaterThan(before - 1000)
    expect(Date.parse(startedAt)).toBeLessThan(Date.now() + 10_000)
    expect(await own.terminate(target.pid, { instance })).toMatchObject({ code: 'sent' })
    await target.ended
  })
})

test("a signaller that Node's permissions keep from /proc tells exits", async (context) => {
  needsLinux(context)
  using own = await signaller.start(withoutProc(signaller.path))
  expectNoProc(own)
  using target = startSleeper()
  expect(await own.terminate(target.pid, { waitMs: 60_000 })).toEqual({ code: 'exited' })
})
