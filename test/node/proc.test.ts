import { afterEach, describe, expect, test, vi } from 'vitest'
import { procWarning, readBootId, readUptime } from '../../src/node/proc.ts'
import { fakeFiles, pretendPlatform } from '../support/fakes.ts'
import { needsLinux } from '../support/needs.ts'

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
    expect(procWarning()).toBeUndefined()
    using _ = await fakeFiles(files)
    expect(procWarning()).toMatch(/^Cannot read this system's own \/proc: [^\n]+\.$/)
  })

  test.each(['darwin', 'freebsd', 'win32'] as const)('is absent on %s', async (platform) => {
    using _ = pretendPlatform(platform)
    expect(procWarning()).toBeUndefined()
  })
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
