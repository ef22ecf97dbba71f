import { readFileSync, statSync } from 'node:fs'
import { errorCode } from '../node/error-code.ts'
import { SettingsError } from './settings-error.ts'

/**
 * The text of a file that a setting names. A regular one: a pipe would hold up the start, without a word, until somebody
 * writes to it, and has nothing left for a reload.
 *
 * @param what - what is in it: `token`, say.
 * @param warn - for a secret: gets one line where every local user may read it.
 * @throws {SettingsError} where it cannot be read.
 */
export const readSettingFile = (file: string, what: string, warn?: (text: string) => void) => {
  let reason: unknown = 'it is no regular file'
  try {
    const status = statSync(file)
    if (status.isFile()) {
      if (status.mode & 0o004) warn?.(`Every local user may read the ${what} in ${file}; run chmod o-r on it.`)
      return readFileSync(file, 'utf8')
    }
  } catch (error) {
    reason = errorCode(error)
  }
  throw new SettingsError(`The ${what} file ${file} cannot be read: ${reason}.`)
}
