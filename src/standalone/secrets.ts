import { readFileSync, statSync } from 'node:fs'
import { errorCode } from '../node/proc.ts'
import { requireToken } from '../server/token.ts'
import { messageOf, orExplain, SettingsError, warn } from './report.ts'

const MAX_FILE_BYTES = 1024 * 1024

/**
 * Reads a file that a setting names. It must be a regular file. A pipe would block the start until somebody writes to
 * the pipe, and would be empty at a reload.
 *
 * @param option - the option that names the file, such as `--token-file`.
 * @param isSecret - whether to warn if other users may read it.
 * @throws {SettingsError} if the file cannot be read.
 */
export const readSettingFile = (option: string, file: string, isSecret = false) => {
  try {
    const status = statSync(file)
    if (!status.isFile()) throw new Error('it is not a regular file')
    if (status.size > MAX_FILE_BYTES) throw new Error('it is larger than 1 MiB')
    // Modes mean nothing on Windows.
    const mode = process.platform === 'win32' ? 0 : status.mode
    if (mode & 0o002) warn(`Every local user can change the file of ${option}; run chmod o-w on it.`)
    if (isSecret && mode & 0o004) warn(`Every local user can read the file of ${option}; run chmod o-r on it.`)
    return readFileSync(file)
  } catch (error) {
    // The message of a system error repeats the path.
    const code = errorCode(error)
    const reason = code === undefined ? messageOf(error) : `${code}; check its path and its mode`
    throw new SettingsError(`Cannot read the file of ${option}: ${reason}.`)
  }
}

/**
 * Reads the tokens that requests may carry: lines `TOKEN` or `NAME:TOKEN`, in a file or in a variable.
 *
 * @returns the tokens by their names; undefined if neither is set.
 * @throws {SettingsError} The error repeats no part of a line, which may be a token.
 *   - if both are set.
 *   - if the file cannot be read, or has no token.
 *   - if a token or a name is malformed, or occurs twice.
 */
export const readTokens = (file: string | undefined, variable: string | undefined) => {
  if (file !== undefined && variable !== undefined)
    throw new SettingsError('Set --token-file or PSYS_KILL_TOKEN, not both.')
  const tokens = new Map<string, string>()
  const values = new Set<string>()
  const where = file === undefined ? 'PSYS_KILL_TOKEN' : 'the token file'
  const text = file === undefined ? variable : readSettingFile('--token-file', file, true).toString()
  if (text === undefined) return undefined
  for (const [index, untrimmed] of text.split('\n').entries()) {
    // This also removes a byte order mark.
    const line = untrimmed.trim()
    if (line === '' || line.startsWith('#')) continue
    const place = `Line ${index + 1} of ${where}`
    const [, name = '', token = ''] = /^(?:([^:]+):)?([^:]+)$/.exec(line) ?? []
    orExplain(place, () => requireToken({ [name]: token }))
    if (tokens.has(name) || values.has(token))
      throw new SettingsError(`${place} repeats a token or a name; give each token a name of its own.`)
    tokens.set(name, token)
    values.add(token)
  }
  if (tokens.size === 0) throw new SettingsError(`There is no token in ${where}.`)
  return Object.fromEntries(tokens)
}
