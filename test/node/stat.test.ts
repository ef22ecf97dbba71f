import { closeSync, openSync, readdirSync } from 'node:fs'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { asKept, statReader } from '../../src/node/stat.ts'
import { fakeFiles } from '../support/fakes.ts'
import { needsLinux } from '../support/needs.ts'
import { startNamed, startSleeper, startWithoutLeader, statField } from '../support/processes.ts'

vi.mock('node:fs', { spy: true })

beforeEach(needsLinux)
afterEach(() => vi.restoreAllMocks())

const noSignal = (code: string, reason: string) => ({ noSignal: { code, reason } })
const GONE = noSignal('ESRCH', 'gone')

/** A stat, of which a test names what it is about. */
const statOf = (pid: number | string, { state = 'S', flags = 4_228_364, threads = 1, exitSignal = 17 }) =>
  `${pid} (x) ${state} 0 0 0 0 -1 ${flags} 0 0 0 0 0 0 0 0 0 0 ${threads} 0 20 0 0 18446744073709551615 0 0 0 0 0 0 0 2147483647 0 1 0 0 ${exitSignal}${' 0'.repeat(14)}\n`

/** What is read of PID 2 if its stat is this. */
const read = async (text: string) => {
  using _ = await fakeFiles({ '/proc/2/stat': { text } })
  return statReader()(2)
}

test.each([
  ['a running process', { state: 'R' }, { noSignal: undefined }],
  ['a zombie', { state: 'Z' }, noSignal('ESRCH', 'zombie')],
  ['a process that is being reaped', { state: 'X', threads: 0 }, noSignal('ESRCH', 'zombie')],
  ['a process without its first thread', { state: 'Z', threads: 2 }, { noSignal: undefined }],
  ['one with 123 other threads', { state: 'Z', threads: 123 }, { noSignal: undefined }],
  ['a thread', { exitSignal: -1 }, noSignal('ESRCH', 'thread')],
  ['a kernel thread', { flags: 2_129_984 }, noSignal('EPERM', 'kernel thread')],
])('the stat of %s', async (_, fields, expected) => {
  const stat = await read(statOf(2, fields))
  expect(stat).toEqual({ command: 'x', startTicks: 20, uids: undefined, ...expected })
})

test.each(['', 'x', '2 (x) R 1 1 1', statOf('2-', {}), statOf(1, {})])('no process: %j throws', async (text) => {
  await expect(read(text)).rejects.toThrow(`Not the stat of process 2: ${text}`)
})

test('the stat of real ones: the threads of Node, a process without its first thread, a kernel thread', async () => {
  const readStat = statReader()
  using leaderless = await startWithoutLeader()
  if (leaderless) expect(readStat(leaderless.pid)).toMatchObject({ noSignal: undefined })
  const threads = readdirSync('/proc/self/task').filter((id) => id !== `${process.pid}`)
  expect(threads.length).toBeGreaterThan(3)
  for (const id of threads) expect(readStat(Number(id))).toMatchObject(noSignal('ESRCH', 'thread'))
  if (readStat(2)?.command === 'kthreadd') expect(readStat(2)).toMatchObject(noSignal('EPERM', 'kernel thread'))
})

test.each([
  ['says half of them', { text: 'Uid:\t0\n' }, { uids: undefined }],
  ['is hidden', { error: 'EACCES' }, undefined],
  ['is gone by now', { error: 'ENOENT' }, GONE],
])('the user ids, if the status %s', async (_, status, expected) => {
  using target = startSleeper()
  using __ = await fakeFiles({ [`/proc/${target.pid}/status`]: status })
  expect(statReader()(target.pid, true)).toEqual(expected && expect.objectContaining(expected))
})

test('the user ids are read while the stat is open, and no file stays open', async () => {
  const readStat = statReader()
  const [opens, closes] = [vi.mocked(openSync).mockClear().mock, vi.mocked(closeSync).mockClear().mock]
  readStat(process.pid, true)
  const stat = `/proc/${process.pid}/stat`
  expect(opens.calls.map(([path]) => path)).toEqual([stat, `/proc/${process.pid}/status`])
  expect(closes.calls.map(([fd]) => fd)).toEqual(opens.results.map(({ value }) => value).reverse())
  expect(Math.min(...closes.invocationCallOrder)).toBeGreaterThan(Math.max(...opens.invocationCallOrder))
  using _ = await fakeFiles({ [stat]: { text: '' } })
  expect(() => readStat(process.pid)).toThrow('Not the stat')
  expect(closes.calls).toHaveLength(opens.results.length)
})

const MOUNT = '22 28 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw'
const OTHER = '29 22 0:26 / /proc/sys/fs/binfmt_misc rw,relatime shared:13 - autofs systemd-1 rw'

test.each([
  ['that hides nothing', { text: `${OTHER}\n${MOUNT}\n` }, GONE],
  ['with hidepid', { text: `${MOUNT},hidepid=invisible\n${OTHER}\n` }, undefined],
  ['with hidepid and a group', { text: `${OTHER}\n${MOUNT},gid=27,hidepid=2\n` }, undefined],
  ['with hidepid over one without', { text: `${MOUNT}\n${MOUNT},hidepid=4\n` }, undefined],
  ['that no mount tells of', { text: `${OTHER}\n` }, undefined],
  ['whose mounts are not told', { error: 'EACCES' }, undefined],
])('in a /proc %s, what is not shown is gone or may be hidden', async (_, mounts, absent) => {
  const expected = { ENOENT: absent, ESRCH: absent, EACCES: undefined, EPERM: undefined }
  for (const [error, stat] of Object.entries(expected)) {
    using _ = await fakeFiles({ '/proc/self/mountinfo': mounts, '/proc/2/stat': { error } })
    expect(statReader()(2)).toEqual(stat)
  }
})

test.each([
  ['a) R 1 (x 2'],
  [') Z 0 0 0'],
  [') '],
  ['\nUid:\t5\t5\t'],
  ['\rUid:\t5\t5\t'],
  ['\u2028Uid:\t5\t5\t'],
  ['0123456789abcdef', '0123456789abcde'],
  ['ééééééééé', 'ééééééé\ufffd'],
  ['xyz😀😀😀😀', 'xyz😀😀😀'],
])('the name %j is told as the kernel keeps it, and does not change the user ids', async (name, kept = name) => {
  using target = await startNamed(name)
  expect(asKept(name)).toBe(kept)
  const startTicks = Number(statField(target.pid, 22))
  const uids = [process.getuid?.(), process.geteuid?.()]
  expect(statReader()(target.pid, true)).toEqual({ command: kept, startTicks, uids, noSignal: undefined })
})
