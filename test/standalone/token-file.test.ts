import { chmodSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { messageOf, read, TOKEN } from '../support/settings.ts'

describe('the token', () => {
  test.each(['a'.repeat(16), 'AZaz09-._~+/AZaz09', 'dG9rZW4gaW4gYmFzZTY0==', TOKEN])('may be %s', (token) => {
    expect(read([], { PSYS_KILL_TOKEN: token }).token).toBe(token)
  })

  test.each([
    ...['', ' ', 'short', 'a'.repeat(15), 'with a space in it', 'mid=dle-of-the-token', '='.repeat(16)],
    ...['ünicode-in-the-token', ` ${TOKEN}`, `${TOKEN}\n`, `${TOKEN}"`, `${TOKEN}\0`],
  ])('may not be %j, and is not repeated in the message', (token) => {
    const message = messageOf([], { PSYS_KILL_TOKEN: token })
    expect(message).toMatch(/^The token in PSYS_KILL_TOKEN must be 16 or more of /)
    if (token.length > 3) expect(message).not.toContain(token)
  })

  test('comes from a file, without the white space around it', () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, `\n ${TOKEN} \r\n`, { mode: 0o640 })
    expect(read(['--token-file', file]).token).toBe(TOKEN)
    expect(read([], { PSYS_KILL_TOKEN_FILE: file }).token).toBe(TOKEN)
  })

  test('in a file that is no token is refused by the name of the file', () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    for (const content of ['', '\n', 'too-short', `${TOKEN}\n${TOKEN}`, `${TOKEN}\0`]) {
      writeFileSync(file, content, { mode: 0o600 })
      expect(messageOf(['--token-file', file])).toMatch(new RegExp(`^The token in ${file} must be 16 or more of `))
    }
  })

  test('in a file that others may read is warned about', () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, TOKEN)
    for (const mode of [0o604, 0o644, 0o444]) {
      chmodSync(file, mode)
      const warnings: string[] = []
      expect(read(['--token-file', file], {}, (text) => void warnings.push(text)).token).toBe(TOKEN)
      expect(warnings).toEqual([`Every local user may read the token in ${file}; run chmod o-r on it.`])
    }
    for (const mode of [0o600, 0o640, 0o400, 0o440]) {
      chmodSync(file, mode)
      expect(read(['--token-file', file]).token).toBe(TOKEN)
    }
  })

  test('in a file that cannot be read is an error', () => {
    using folder = emptyFolder()
    expect(messageOf(['--token-file', folder.file('none')])).toMatch(/^The token file .+ cannot be read: ENOENT\.$/)
    chmodSync(folder.path, 0o700)
    expect(messageOf(['--token-file', folder.path])).toMatch(/^The token file .+ cannot be read: EISDIR\.$/)
  })

  test('comes from one place', () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, TOKEN, { mode: 0o600 })
    for (const token of [TOKEN, ''])
      expect(messageOf(['--token-file', file], { PSYS_KILL_TOKEN: token })).toMatch(/^Both .+ keep one of them\.$/)
  })
})
