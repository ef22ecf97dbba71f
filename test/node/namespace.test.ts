import { writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CONDITIONS } from '../../src/app/signaller.ts'
import { type Namespace, noNamespaces, startNamespace } from '../support/namespace.ts'
import { needsLinux } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { buildSignaller } from '../support/signaller-process.ts'
import { reapedPid } from '../support/target.ts'

const WARNING = /^Cannot read this system's own \/proc: /
const NOBODY = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
const MAY_KILL = [...NOBODY, '--inh-caps=+kill', '--ambient-caps=+kill']
const THREADED = `${process.execPath} -e "setInterval(() => {}, 1e6)"`
const EVERYTHING = [...CONDITIONS]

const future = () => new Date(Date.now() + 60_000)

let signaller: Awaited<ReturnType<typeof buildSignaller>>
beforeAll(async () => {
  signaller = await buildSignaller()
})
afterAll(() => signaller[Symbol.dispose]())

describe('a signaller with mounts of its own', () => {
  beforeEach(({ skip }) => skip(noNamespaces !== undefined, noNamespaces))

  const startIn = ({ enter }: Namespace, as: readonly string[] = [], protect?: readonly number[]) =>
    signaller.start([...enter, ...as, process.execPath], protect)

  /** Starts a process with several threads and tells their ids. */
  const startThreaded = async (inside: Namespace) => {
    const target = await inside.start({ run: THREADED })
    const ids = () => inside.run(`ls /proc/${target.pid}/task`).split('\n').map(Number)
    await expect.poll(() => ids().length).toBeGreaterThan(5)
    return { target, threads: ids().filter((id) => id !== target.pid), [Symbol.dispose]: target[Symbol.dispose] }
  }

  /** A PID that was a process's in there a moment ago. */
  const reapedIn = (inside: Namespace) => Number(inside.run('sh -c "echo \\$\\$"'))

  describe.each(['1', '2', '4'])('of which /proc has hidepid=%s, for another user with CAP_KILL', (hidepid) => {
    const startHidden = async () => {
      const inside = await startNamespace()
      inside.run(`mount -t proc -o hidepid=${hidepid} proc /proc`)
      return inside
    }

    test('signals no thread of a protected process, nor anything that is hidden', async () => {
      await using inside = await startHidden()
      using victim = await startThreaded(inside)
      using other = await inside.start()
      const { pid } = victim.target
      using guarded = await startIn(inside, MAY_KILL, [pid])
      expect(guarded.supports).toEqual(EVERYTHING)
      expect(guarded.warning).toBeUndefined()
      expect(await guarded.terminate(pid)).toEqual({ code: 'EPERM', reason: 'protected' })
      for (const hidden of [...victim.threads, other.pid])
        for (const conditions of [{}, { startedBefore: future() }, { waitMs: 0 }])
          expect(await guarded.terminate(hidden, conditions)).toEqual({ code: 'EPERM', reason: 'hidden' })
      expect(await guarded.terminate(reapedIn(inside))).toEqual({ code: 'ESRCH' })
      using own = await inside.start({ as: NOBODY })
      expect(await guarded.terminate(own.pid, { startedBefore: future(), waitMs: 20_000 })).toMatchObject({
        code: 'exited',
      })
      expect([victim.target.isAlive(), other.isAlive()]).toEqual([true, true])
      // Without protection the id of a thread reaches its process.
      using unguarded = await startIn(inside, MAY_KILL)
      expect(await unguarded.terminate(victim.threads[0] ?? Number.NaN)).toEqual({ code: 'sent' })
      await victim.target.ended
    })

    test('signals none of its own threads', async () => {
      await using inside = await startHidden()
      using own = await startIn(inside, MAY_KILL)
      const threads = inside.run(`ls /proc/${own.pid}/task`).split('\n').map(Number)
      expect(threads.length).toBeGreaterThan(5)
      for (const id of threads) expect((await own.terminate(id)).code).toBe(id === own.pid ? 'EPERM' : 'ESRCH')
      expect(own.isAlive()).toBe(true)
    })

    test('tells the exit of what is hidden, and not its start', async () => {
      await using inside = await startHidden()
      using target = await inside.start()
      using own = await startIn(inside, MAY_KILL)
      expect(await own.terminate(target.pid, { startedBefore: future() })).toEqual({ code: 'no startedBefore' })
      expect(target.isAlive()).toBe(true)
      expect(await own.terminate(target.pid, { waitMs: 20_000 })).toEqual({ code: 'exited' })
      await target.ended
    })
  })

  describe.each([
    ['of another namespace', [], 'true'],
    ['that is not mounted', ['--mount-proc'], 'umount -l /proc'],
  ])('and a /proc %s', (_, options, prepare) => {
    test('warns, lets kill(2) decide and tells exits', async () => {
      await using inside = await startNamespace(options)
      inside.run(prepare)
      using own = await startIn(inside)
      expect(own.supports).toEqual(['waitMs', 'dryRun'])
      expect(own.warning).toMatch(WARNING)
      using target = await inside.start()
      expect(await own.terminate(target.pid, { startedBefore: future() })).toEqual({ code: 'no startedBefore' })
      for (const pid of [1, own.pid]) expect(await own.terminate(pid)).toEqual({ code: 'EPERM', reason: 'protected' })
      expect(target.isAlive()).toBe(true)
      expect(await own.terminate(target.pid, { waitMs: 20_000 })).toEqual({ code: 'exited' })
      await target.ended
      expect(await own.terminate(target.pid)).toEqual({ code: 'ESRCH' })
      expect(inside.initSaid()).toBe('up\n')
    })

    test('signals nothing that it cannot look up while it protects something', async () => {
      await using inside = await startNamespace(options)
      using victim = await inside.start()
      using other = await inside.start()
      inside.run(prepare)
      using guarded = await startIn(inside, [], [victim.pid])
      expect(guarded.warning).toMatch(WARNING)
      expect(await guarded.terminate(victim.pid)).toEqual({ code: 'EPERM', reason: 'protected' })
      expect(await guarded.terminate(other.pid)).toEqual({ code: 'EPERM', reason: 'hidden' })
      expect(await guarded.terminate(reapedIn(inside))).toEqual({ code: 'ESRCH' })
      expect([victim.isAlive(), other.isAlive()]).toEqual([true, true])
    })
  })

  test.each<[string, (fake: string) => string]>([
    ["a container's", (fake) => `mount --bind ${fake} /proc/uptime`],
    ['empty', () => 'mount --bind /dev/null /proc/uptime'],
    ['not there, with subset=pid', () => 'mount -t proc -o subset=pid proc /proc'],
  ])('and an uptime that is %s does without startedBefore', async (_, mount) => {
    await using inside = await startNamespace()
    const fake = `${signaller.folder}/uptime`
    writeFileSync(fake, '12.34 5.67\n')
    inside.run(mount(fake))
    using own = await startIn(inside)
    expect(own.supports).toEqual(['waitMs', 'dryRun', 'command'])
    using target = await inside.start()
    expect(await own.terminate(target.pid, { startedBefore: future() })).toMatchObject({ code: 'no startedBefore' })
    expect(target.isAlive()).toBe(true)
    expect(await own.terminate(target.pid, { waitMs: 20_000 })).toMatchObject({ code: 'exited' })
    await target.ended
  })

  test('tells the exit of a process whose PID is used again at once', async () => {
    await using inside = await startNamespace()
    using own = await startIn(inside)
    using target = await inside.start({ pid: 5000, successors: 1 })
    // The two are told apart by the tick of 10 ms in which they start.
    await sleep(30)
    expect(await own.terminate(5000, { waitMs: 20_000 })).toMatchObject({ code: 'exited' })
    await expect.poll(target.pids).toEqual([5000, 5000])
    expect(target.isAlive()).toBe(true)
  })

  test('and the boot time of a time namespace tells starts', async () => {
    await using inside = await startNamespace(['--mount-proc', '--time', '--boottime', '86400'])
    using own = await startIn(inside)
    expect(own.supports).toEqual(EVERYTHING)
    await sleep(50)
    const before = new Date()
    await sleep(2)
    using target = await inside.start()
    const later = { code: 'ESRCH', reason: 'started later' }
    expect(await own.terminate(target.pid, { startedBefore: before })).toMatchObject(later)
    await sleep(50)
    expect(await own.terminate(target.pid, { startedBefore: new Date() })).toMatchObject({ code: 'sent' })
    await target.ended
  })
})

describe('a signaller as a process', () => {
  beforeEach(needsLinux)

  test('that a shell has become half a second after its start tells starts', async () => {
    using own = await signaller.start(['sh', '-c', 'sleep 0.5; exec "$@"', 'sh', process.execPath])
    expect(own.supports).toEqual(EVERYTHING)
    using target = startSleeper()
    await sleep(50)
    expect(await own.terminate(target.pid, { startedBefore: new Date() })).toMatchObject({ code: 'sent' })
    expect(await target.ended).toBe('SIGTERM')
  })

  test("that Node's permissions keep from /proc warns, and tells exits", async () => {
    const { allowedNodeEnvironmentFlags: flags } = process
    const permission = flags.has('--permission') ? '--permission' : '--experimental-permission'
    using own = await signaller.start([
      process.execPath,
      '--no-warnings',
      permission,
      `--allow-fs-read=${signaller.folder}/*`,
    ])
    expect(own.supports).toEqual(['waitMs', 'dryRun'])
    expect(own.warning).toMatch(WARNING)
    using target = startSleeper()
    expect(await own.terminate(target.pid, { waitMs: 20_000 })).toEqual({ code: 'exited' })
    expect(await own.terminate(await reapedPid())).toEqual({ code: 'ESRCH' })
  })
})
