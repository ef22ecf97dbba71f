import { afterEach, describe, expect, test, vi } from 'vitest'
import { mayKillOthers, procWarning, readBootId, readUptime } from '../../src/node/proc.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { needsLinux } from '../support/needs.ts'
import { pretendPlatform } from '../support/platform.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())

const PID = process.pid

describe('the warning about /proc', () => {
  test.for([
    ['is missing', { '/proc/self/stat': { error: 'ENOENT' } }],
    ['is forbidden', { '/proc/self/stat': { error: 'ERR_ACCESS_DENIED' } }],
    ['has another PID for this process', { '/proc/self/stat': { text: `${PID}1 (node) R 0` } }],
    ['has the same PID by chance', { '/proc/self/status': { text: `Pid:\t${PID}\nNSpid:\t${PID}\t${PID}\n` } }],
  ] as const)('says in one line what is lost if it %s', async ([, files], context) => {
    needsLinux(context)
    expect(procWarning([process.ppid])).toBeUndefined()
    using _ = await fakeFiles(files)
    const LOST = /^Cannot read this system's own \/proc: (.+)\. instance and command are not supported\.$/
    expect(LOST.exec(procWarning() ?? '')?.[1]).toContain('threads look like processes')
    expect(LOST.exec(procWarning([process.ppid]) ?? '')?.[1]).toContain('nothing is killed')
  })

  test.each(['darwin', 'freebsd', 'win32'] as const)('is absent on %s', async (platform) => {
    using _ = pretendPlatform(platform)
    expect(procWarning([process.ppid])).toBeUndefined()
  })
})

const caps = (effective: string) => ({ text: `CapPrm:\t000001ffffffffff\nCapEff:\t${effective}\nCapBnd:\t0\n` })
const notTold = () => {
  throw new Error('NotCapable')
}

test.each([
  ['all capabilities', caps('000001ffffffffff'), () => 1000, true],
  ['CAP_KILL alone', caps('0000000000000020'), () => 1000, true],
  ['all but CAP_KILL', caps('000001ffffffffdf'), () => 0, false],
  ['no capability', caps('0000000000000000'), () => 0, false],
  ['no /proc, as root', { error: 'ENOENT' }, () => 0, true],
  ['no /proc, as another user', { error: 'ENOENT' }, () => 1000, false],
  ['no /proc, as a user that the runtime does not tell', { error: 'ENOENT' }, notTold, false],
])('mayKillOthers, with %s', async (_, status, getuid, expected) => {
  using __ = await fakeFiles({ '/proc/self/status': status })
  vi.spyOn(process, 'getuid').mockImplementation(getuid)
  expect(mayKillOthers()).toBe(expected)
})

test('the boot id and the uptime are those of this system, or absent', async (context) => {
  needsLinux(context)
  expect(readBootId()).toMatch(/^[0-9a-f]{16}$/)
  expect(readUptime()).toBeGreaterThan(process.uptime() - 1)
  for (const file of [{ error: 'ENOENT' }, { error: 'EACCES' }, { text: '' }]) {
    using _ = await fakeFiles({ '/proc/uptime': file, '/proc/sys/kernel/random/boot_id': file })
    expect([readBootId(), readUptime()]).toEqual([undefined, Number.NaN])
  }
})
