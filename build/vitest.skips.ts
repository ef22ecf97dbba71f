import type { Reporter, TestCase } from 'vitest/node'

/** Why a test was skipped: its note, or `(needs …)` in the name of its group. */
const reasonOf = (test: TestCase) => {
  const result = test.result()
  const note = result.state === 'skipped' ? result.note : undefined
  return note ?? /\((needs .*?)\)( >|$)/.exec(test.fullName)?.[1] ?? 'no reason'
}

/**
 * Prints which tests were skipped, and why. If the variable SKIPS is set, the run fails for a reason that this regular
 * expression does not match. `.ci/run` sets it.
 */
export const skips = (allowed = process.env['SKIPS']): Reporter => ({
  onTestRunEnd: (modules) => {
    const skipped = modules.flatMap(({ children }) => [...children.allTests('skipped')])
    const byReason = new Map<string, string[]>()
    for (const test of skipped) {
      const reason = reasonOf(test)
      byReason.set(reason, [...(byReason.get(reason) ?? []), `${test.module.relativeModuleId} > ${test.fullName}`])
    }
    for (const [reason, names] of byReason) {
      const isAllowed = allowed === undefined || new RegExp(`^(${allowed})$`).test(reason)
      console.log(`${isAllowed ? 'Skipped' : 'Skipped, and must not be'}: ${reason}\n  ${names.join('\n  ')}`)
      if (!isAllowed) process.exitCode = 1
    }
  },
})
