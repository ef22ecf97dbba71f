import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { mayKillOthers, procWarning } from '../../src/node/proc.ts'
import { fakeFiles } from '../support/fake-proc.ts'
import { needsLinux } from '../support/needs.ts'
import { pretendPlatform } from '../support/platform.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())

describe('the warning about /proc', () => {
  const LOST = /^Cannot read this system's own \/proc: .+ startedBefore and command are not supported\.$/

  describe('on Linux', () => {
    beforeEach(needsLinux)

    test('is not there where it can be read', () => {
      expect(procWarning()).toBeUndefined()
      expect(procWarning([process.ppid])).toBeUndefined()
    })

    test.each([
      ['is missing', { '/proc/self/stat': { error: 'ENOENT' } }],
      ['is forbidden', { '/proc/self/stat': { error: 'ERR_ACCESS_DENIED' } }],
      ["is another PID namespace's", { '/proc/self/stat': { text: `${process.pid}1 (node) R 0` } }],
      [
        "is another PID namespace's, in which this process has the same PID",
        { '/proc/self/status': { text: `Pid:\t${process.pid}\nNSpid:\t${process.pid}\t${process.pid}\nCapEff:\t0\n` } },
      ],
    ])('says in one line what is lost where it %s', async (_, files) => {
      using __ = await fakeFiles(files)
      expect(procWarning()).toMatch(LOST)
      expect(procWarning()).toContain('threads')
      expect(procWarning([process.ppid])).toMatch(LOST)
      expect(procWarning([process.ppid])).toContain('nothing at all is killed')
    })
  })

  test.each(['darwin', 'freebsd', 'win32'] as const)('is not there on %s', async (platform) => {
    using _ = pretendPlatform(platform)
    expect(procWarning([process.ppid])).toBeUndefined()
  })
})

describe('whether others may be killed', () => {
  const status = (capabilities: string) => ({
    '/proc/self/status': { text: `Name:\tnode\nCapPrm:\t000001ffffffffff\nCapEff:\t${capabilities}\nCapBnd:\t0\n` },
  })
  const without = { '/proc/self/status': { error: 'ENOENT' } }

  test.each([
    ['all capabilities', '000001ffffffffff', true],
    ['CAP_KILL alone', '0000000000000020', true],
    ['all but CAP_KILL', '000001ffffffffdf', false],
    ['none', '0000000000000000', false],
  ])('with %s (%s): %s', async (_, capabilities, expected) => {
    using __ = await fakeFiles(status(capabilities))
    expect(mayKillOthers()).toBe(expected)
  })

  test.each([
    ['root', () => 0, true],
    ['another user', () => 1000, false],
    [
      'a user that the runtime does not tell',
      () => {
        throw new Error('NotCapable')
      },
      false,
    ],
  ])('without /proc, as %s', async (_, getuid, expected) => {
    using __ = await fakeFiles(without)
    vi.spyOn(process, 'getuid').mockImplementation(getuid)
    expect(mayKillOthers()).toBe(expected)
  })
})
