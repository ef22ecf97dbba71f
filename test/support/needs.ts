import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { describe, type TestContext } from 'vitest'

type Skips = Pick<TestContext, 'skip'>

const isRoot = process.getuid?.() === 0
const onLinux = process.platform === 'linux'

/** Whether /proc can be read; not so on other systems, and in some containers. */
export const hasProc = (() => {
  try {
    return onLinux && readFileSync('/proc/self/stat', 'latin1').startsWith(`${process.pid} `)
  } catch {
    return false
  }
})()

const hasIPv6 = Object.values(networkInterfaces()).some((each) => each?.some(({ address }) => address === '::1'))

/** Whether a command runs to its end here. */
export const runs = (file: string, ...args: string[]) => spawnSync(file, args, { stdio: 'ignore' }).status === 0

/** For a beforeEach, or a test's own first line: skips it, by name, where something is missing. */
export const needsLinux = ({ skip }: Skips) => skip(!hasProc, 'needs Linux with /proc')

export const needsRoot = ({ skip }: Skips) => skip(!isRoot, 'needs root')

const hasTerminal = runs('python3', '-c', 'import pty')

export const needsTerminal = ({ skip }: Skips) => {
  skip(!hasProc, 'needs Linux with /proc')
  skip(!hasTerminal, 'needs python3, to open a terminal')
}

export const needsIPv6 = ({ skip }: Skips) => skip(!hasIPv6, 'needs IPv6')

/** Debian's package puts it in no folder of PATH. */
export const WINE = '/usr/lib/wine/wine64'

/** What a group needs, and whether it is missing. */
const LACKS = {
  root: () => !isRoot,
  Linux: () => !hasProc,
  setpriv: () => !runs('setpriv', '--version'),
  openssl: () => !runs('openssl', 'version'),
  wine64: () => !existsSync(WINE),
} as const

/** A group that is skipped, and says in its name what it needs, where that is missing. */
export const describeWith = (needs: readonly (keyof typeof LACKS)[], name: string, tests: () => void) => {
  const missing = needs.filter((need) => LACKS[need]())
  const note = missing.length > 0 ? ` (needs ${missing.join(', ')})` : ''
  describe.skipIf(missing.length > 0)(name + note, tests)
}

const hasOpenssl = runs('openssl', 'version')

export const needsOpenssl = ({ skip }: Skips) => skip(!hasOpenssl, 'needs openssl')
