import type { TestContext } from 'vitest'

type Skips = Pick<TestContext, 'skip'>

/** For a beforeEach, or a test's own first line: skips it, by name, where something is missing. */
export const needsLinux = ({ skip }: Skips) => skip(process.platform !== 'linux', 'needs Linux')

export const needsRoot = ({ skip }: Skips) => skip(process.getuid?.() !== 0, 'needs root')
