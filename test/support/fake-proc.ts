import { openSync, readFileSync } from 'node:fs'
import { vi } from 'vitest'
import { emptyFolder } from './folder.ts'

/** The text of `/proc/PID/stat` for a process that started so many clock ticks later. */
export const startedLater = (stat: string, ticks: number) =>
  stat.replace(/^(\d+ \(.*\)(?: \S+){19} )(\d+)/s, (_, before, start) => `${before}${Number(start) + ticks}`)

/**
 * Shows the code under test other contents, or an error, for some paths: a text, or the code of a system error. The
 * test file has to `vi.mock('node:fs', { spy: true })`.
 */
export const fakeFiles = async (files: Readonly<Record<string, { text: string } | { error: string }>>) => {
  const actual = await vi.importActual<typeof import('node:fs')>('node:fs')
  const folder = emptyFolder()
  const redirect = (path: Parameters<typeof openSync>[0]) => {
    const file = files[String(path)]
    if (!file) return path
    if ('error' in file) throw Object.assign(new Error(file.error), { code: file.error })
    const instead = folder.file(String(path).replaceAll('/', '_'))
    actual.writeFileSync(instead, file.text)
    return instead
  }
  vi.mocked(openSync).mockImplementation((path, ...rest) => actual.openSync(redirect(path), ...rest))
  vi.mocked(readFileSync).mockImplementation((path, ...rest) =>
    actual.readFileSync(typeof path === 'string' ? redirect(path) : path, ...rest),
  )
  return {
    [Symbol.dispose]: () => {
      vi.mocked(openSync).mockReset()
      vi.mocked(readFileSync).mockReset()
      folder[Symbol.dispose]()
    },
  }
}
