import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { mayKillOthers, procWarning, readBootId, readUptime } from '../../src/node/proc.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { needsLinux } from '../support/needs.ts'
import { pretendPlatform } from '../support/platform.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())

describe('the warning about /proc', () => {
  test.for([
    ['is missing', { '/proc/self/stat': { error: 'ENOENT' } }],
    ['is forbidden', { '/proc/self/stat': { error: 'ERR_ACCESS_DENIED' } }],
    ['belongs to another PID namespace', { '/proc/self/stat': { text: `${process.pid}1 (node) R 0` } }],
    [
      'belongs to another PID namespace, in which this process has the same PID',
      { '/proc/self/status': { text: `Pid:\t${process.pid}\nNSpid:\t${process.pid}\t${process.pid}\n` } },
    ],
  ] as const)('says in one line what is lost if it %s', async ([, files], context) => {
    needsLinux(context)
    expect(procWarning([process.ppid])).toBeUndefined()
    using _ = await fakeFiles(files)
    const LOST = /^Cannot read this system's own \/proc: .+\. instance and command are not supported\.$/
    expect(procWarning()).toMatch(LOST)
    expect(procWarning()).toContain('threads look like processes')
    expect(procWarning([process.ppid])).toMatch(LOST)
    expect(procWarning([process.ppid])).toContain('nothing is killed')
  })

  test.each(['darwin', 'freebsd', 'win32'] as const)('is absent on %s', async (platform) => {
    using _ = pretendPlatform(platform)
    expect(procWarning([process.ppid])).toBeUndefined()
  })
})

describe('mayKillOthers', () => {
  test.each([
    ['all capabilities', '000001ffffffffff', true],
    ['CAP_KILL alone', '0000000000000020', true],
    ['all but CAP_KILL', '000001ffffffffdf', false],
    ['none', '0000000000000000', false],
  ])('with %s (%s): %s', async (_, capabilities, expected) => {
    const text = `Name:\tnode\nCapPrm:\t000001ffffffffff\nCapEff:\t${capabilities}\nCapBnd:\t0\n`
    using __ = await fakeFiles({ '/proc/self/status': { text } })
    expect(mayKillOthers()).toBe(expected)
  })

  const notTold = () => {
    throw new Error('NotCapable')
  }
  test.each([
    ['root', () => 0, true],
    ['another user', () => 1000, false],
    ['a user that the runtime does not tell', notTold, false],
  ])('without /proc, as %s', async (_, getuid, expected) => {
    using __ = await fakeFiles({ '/proc/self/status': { error: 'ENOENT' } })
    vi.spyOn(process, 'getuid').mockImplementation(getuid)
    expect(mayKillOthers()).toBe(expected)
  })
})

describe('the boot id and the uptime', () => {
  beforeEach(needsLinux)

  test('are those of this system', () => {
    expect(readBootId()).toMatch(/^[0-9a-f]{16}$/)
    expect(readUptime()).toBeGreaterThan(process.uptime() - 1)
  })

  test.each([{ error: 'ENOENT' }, { error: 'EACCES' }, { text: '' }])(
    'are absent if the files are %j',
    async (file) => {
      using _ = await fakeFiles({ '/proc/uptime': file, '/proc/sys/kernel/random/boot_id': file })
      expect([readBootId(), readUptime()]).toEqual([undefined, Number.NaN])
    },
  )
})
