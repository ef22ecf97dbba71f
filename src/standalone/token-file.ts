import { readFileSync, statSync } from 'node:fs'
import { errorCode } from '../node/proc.ts'
import { TOKEN_PATTERN } from '../server/token.ts'
import { SettingsError } from './settings-error.ts'

const readTokenFile = (file: string, warn: (text: string) => void) => {
  try {
    if (statSync(file).mode & 0o004) warn(`Every local user may read the token in ${file}; run chmod o-r on it.`)
    return readFileSync(file, 'utf8').trim()
  } catch (error) {
    throw new SettingsError(`The token file ${file} cannot be read: ${errorCode(error)}.`)
  }
}

/**
 * The token that requests must carry, from a file or from the variable itself; undefined where there is neither.
 *
 * @throws {SettingsError} where there are both, the file cannot be read, or no request could match the token.
 */
export const readToken = (file: string | undefined, variable: string | undefined, warn: (text: string) => void) => {
  if (file !== undefined && variable !== undefined)
    throw new SettingsError('Both a token file and PSYS_KILL_TOKEN are set; keep one of them.')
  const token = file === undefined ? variable : readTokenFile(file, warn)
  if (token !== undefined && !TOKEN_PATTERN.test(token))
    throw new SettingsError(
      `The token in ${file ?? 'PSYS_KILL_TOKEN'} must be 16 or more of A-Z a-z 0-9 - . _ ~ + /, with = only at its end.`,
    )
  return token
}
