import { readFileSync, statSync } from 'node:fs'
import process from 'node:process'
import { errorCode } from '../node/error-code.ts'
import { NAME_PATTERN, TOKEN_PATTERN } from '../server/token.ts'
import { SettingsError } from './report.ts'

type Warn = (text: string) => void

/** Tokens by their names. */
export type NamedTokens = Readonly<Record<string, string>>

/** A path as it is shown in an error. If it does not look like a path, it may be a misplaced token: it is not shown. */
const shownPath = (path: string) => (/^(\.|\/.*\/|[a-z]:\\)/is.test(path) ? ` ${path}` : ' (its path is not shown)')

/**
 * Reads a file that a setting names. It must be a regular file. A pipe would block the start until somebody writes to
 * the pipe, and would be empty at a reload.
 *
 * @param what - what the file contains, such as `token`.
 * @param isSecret - whether other users must not read it.
 * @throws {SettingsError} if the file cannot be read.
 */
export const readSettingFile = (file: string, what: string, warn: Warn, isSecret = false) => {
  let reason: unknown = 'it is not a regular file'
  const tell = (verb: string, right: string) =>
    warn(`Every local user may ${verb} the ${what} file${shownPath(file)}; run chmod o-${right} on it.`)
  try {
    const status = statSync(file)
    // Modes mean nothing on Windows.
    const mode = process.platform === 'win32' ? 0 : status.mode
    if (status.isFile()) {
      if (mode & 0o002) tell('change', 'w')
      if (isSecret && mode & 0o004) tell('read', 'r')
      return readFileSync(file)
    }
  } catch (error) {
    reason = errorCode(error)
  }
  throw new SettingsError(`Cannot read the ${what} file${shownPath(file)}: ${reason}.`)
}

/** The lines of a token file with their places, without comments and empty lines. trim removes a byte order mark. */
const linesOf = (file: string, warn: Warn) =>
  readSettingFile(file, 'token', warn, true)
    .toString()
    .split('\n')
    .map((line, index) => [line.trim(), `line ${index + 1} of the token file`] as const)
    .filter(([line]) => line !== '' && !line.startsWith('#'))

/**
 * Reads the tokens that requests may carry. A file has lines `TOKEN` or `NAME:TOKEN`; the variable is one such line.
 *
 * @returns the tokens by their names; undefined if neither is set.
 * @throws {SettingsError} The error repeats no part of a line, which may be a token.
 *   - if both are set.
 *   - if the file cannot be read, or has no token.
 *   - if a token or a name is malformed, or occurs twice.
 */
export const readTokens = (
  file: string | undefined,
  variable: string | undefined,
  warn: Warn,
): NamedTokens | undefined => {
  if (file !== undefined && variable !== undefined)
    throw new SettingsError('Both a token file and PSYS_KILL_TOKEN are set; keep one of them.')
  const tokens = new Map<string, string>()
  const only = variable === undefined ? [] : [[variable, 'PSYS_KILL_TOKEN'] as const]
  for (const [line, place] of file === undefined ? only : linesOf(file, warn)) {
    const [, name = '', token = ''] = /^(?:([^:]+):)?([^:]+)$/.exec(line) ?? []
    if (!TOKEN_PATTERN.test(token) || !NAME_PATTERN.test(name))
      throw new SettingsError(
        `The token in ${place} must have 16 or more of A-Z a-z 0-9 - . _ ~ + /, with = only at its end. A name before it, as in NAME:TOKEN, may have 64 of A-Z a-z 0-9 . _ -.`,
      )
    if (tokens.has(name) || [...tokens.values()].includes(token))
      throw new SettingsError(`The token in ${place}, or its name, occurs twice; each token needs a name of its own.`)
    tokens.set(name, token)
  }
  if (file !== undefined && tokens.size === 0)
    throw new SettingsError(`The token file${shownPath(file)} has no token in it.`)
  return tokens.size > 0 ? Object.fromEntries(tokens) : undefined
}
