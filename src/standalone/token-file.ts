import { NAME_PATTERN, TOKEN_PATTERN, type Tokens } from '../server/token.ts'
import { readSettingFile } from './setting-file.ts'
import { SettingsError } from './settings-error.ts'

/** Its lines, with their places, without comments and empty ones. (A byte order mark is white space to trim.) */
const linesOf = (file: string, warn: (text: string) => void) =>
  readSettingFile(file, 'token', warn)
    .split('\n')
    .map((line, index) => [line.trim(), `line ${index + 1} of ${file}`] as const)
    .filter(([line]) => line !== '' && !line.startsWith('#'))

/**
 * The tokens that requests may carry, by their names: of a file with lines `TOKEN` or `NAME:TOKEN`, or of the variable,
 * which is such a line; undefined where there is neither.
 *
 * @throws {SettingsError} where there are both, the file cannot be read or has no token, no request could match a token,
 * a name is malformed, or a name or a token stands twice.
 */
export const readToken = (
  file: string | undefined,
  variable: string | undefined,
  warn: (text: string) => void,
): Tokens | undefined => {
  if (file !== undefined && variable !== undefined)
    throw new SettingsError('Both a token file and PSYS_KILL_TOKEN are set; keep one of them.')
  const tokens = new Map<string, string>()
  const only = variable === undefined ? [] : [[variable, 'PSYS_KILL_TOKEN'] as const]
  for (const [line, place] of file === undefined ? only : linesOf(file, warn)) {
    const [, name = '', token = ''] = /^(?:([^:]+):)?([^:]+)$/.exec(line) ?? []
    // Nothing of the line is repeated: it may be a token.
    if (!TOKEN_PATTERN.test(token) || !NAME_PATTERN.test(name))
      throw new SettingsError(
        `The token in ${place} must be 16 or more of A-Z a-z 0-9 - . _ ~ + /, with = only at its end; NAME: before it may have 64 of A-Z a-z 0-9 . _ -.`,
      )
    if (tokens.has(name) || [...tokens.values()].includes(token))
      throw new SettingsError(
        `The token in ${place}, or its name, stands there twice; a second one needs a name of its own.`,
      )
    tokens.set(name, token)
  }
  if (file !== undefined && tokens.size === 0) throw new SettingsError(`The token file ${file} has no token in it.`)
  return tokens.size > 0 ? Object.fromEntries(tokens) : undefined
}
