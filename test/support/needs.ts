import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { describe, type TestContext } from 'vitest'

const STAT = '/proc/self/stat'
/** Whether /proc can be read. It cannot on other systems, and in some containers. */
export const hasProc =
  process.platform === 'linux' && existsSync(STAT) && readFileSync(STAT, 'latin1').startsWith(`${process.pid} `)

/** Whether a command runs to its end here. */
export const runs = (file: string, ...args: string[]) => spawnSync(file, args, { stdio: 'ignore' }).status === 0

/** Debian's package puts it in no folder of PATH. */
export const WINE = '/usr/lib/wine/wine64'

/** What a test may need, and whether it is here. */
const HAS = {
  root: () => process.getuid?.() === 0,
  Linux: () => hasProc,
  IPv6: () => Object.values(networkInterfaces()).some((each) => each?.some(({ address }) => address === '::1')),
  setpriv: () => runs('setpriv', '--version'),
  openssl: () => runs('openssl', 'version'),
  'Linux with python3': () => hasProc && runs('python3', '-c', 'import pty'),
  wine64: () => existsSync(WINE),
} as const

type Need = keyof typeof HAS

const needs = (need: Need) => {
  return ({ skip }: Pick<TestContext, 'skip'>) => skip(!HAS[need](), `needs ${need}`)
}

// Each skips a test, and names what is missing. Use them in beforeEach, or first in a test.
export const needsLinux = needs('Linux')
export const needsRoot = needs('root')
export const needsTerminal = needs('Linux with python3')
export const needsIPv6 = needs('IPv6')
export const needsOpenssl = needs('openssl')

/** A group whose name says what it needs. If that is missing, it is skipped. */
export const describeWith = (needs: readonly Need[], name: string, tests: () => void) => {
  const missing = needs.filter((need) => !HAS[need]())
  const note = missing.length > 0 ? ` (needs ${missing.join(', ')})` : ''
  describe.skipIf(missing.length > 0)(name + note, tests)
}
