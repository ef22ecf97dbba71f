import { afterEach, expect, test, vi } from 'vitest'
import { procIsOurs } from '../../src/node/proc.ts'
import { fakeFiles, pretendPlatform } from '../support/fakes.ts'
import { needsLinux } from '../support/needs.ts'

vi.mock('node:fs', { spy: true })

afterEach(() => vi.restoreAllMocks())

const PID = process.pid

test.for([
  ['is missing', { '/proc/self/stat': { error: 'ENOENT' } }],
  ['is forbidden', { '/proc/self/stat': { error: 'ERR_ACCESS_DENIED' } }],
  ['has another PID for this process', { '/proc/self/stat': { text: `${PID}1 (node) R 0` } }],
  ['has the same PID by chance', { '/proc/self/status': { text: `Pid:\t${PID}\nNSpid:\t${PID}\t${PID}\n` } }],
] as const)('/proc is not ours if it %s', async ([, files], context) => {
  needsLinux(context)
  expect(procIsOurs()).toBe(true)
  using _ = await fakeFiles(files)
  expect(procIsOurs()).toBe(false)
})

test.each(['darwin', 'freebsd', 'win32'] as const)('/proc is not looked at on %s', async (platform) => {
  using _ = pretendPlatform(platform)
  expect(procIsOurs()).toBe(false)
})
