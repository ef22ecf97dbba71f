import { execFileSync } from 'node:child_process'
import { chmodSync, symlinkSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { messageOf, read, TOKEN } from '../support/settings.ts'

describe('the token', () => {
  test.each(['a'.repeat(16), 'AZaz09-._~+/AZaz09', 'dG9rZW4gaW4gYmFzZTY0==', TOKEN])('may be %s', (token) => {
    expect(read([], { PSYS_KILL_TOKEN: token }).token).toEqual({ '': token })
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
    expect(read(['--token-file', file]).token).toEqual({ '': TOKEN })
    expect(read([], { PSYS_KILL_TOKEN_FILE: file }).token).toEqual({ '': TOKEN })
  })

  test('in a file that is no token is refused by the name of the file', () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    for (const content of ['too-short', `${TOKEN}\0`, `${TOKEN} # a comment`, 'correct-horse battery-staple']) {
      writeFileSync(file, content, { mode: 0o600 })
      const expected = `^The token in line 1 of ${file} must be 16 or more of `
      expect(messageOf(['--token-file', file])).toMatch(new RegExp(expected))
    }
  })

  test('in a file that others may read is warned about', () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, TOKEN)
    for (const mode of [0o604, 0o644, 0o444]) {
      chmodSync(file, mode)
      const warnings: string[] = []
      expect(read(['--token-file', file], {}, (text) => void warnings.push(text)).token).toEqual({ '': TOKEN })
      expect(warnings).toEqual([`Every local user may read the token in ${file}; run chmod o-r on it.`])
    }
    for (const mode of [0o600, 0o640, 0o400, 0o440]) {
      chmodSync(file, mode)
      expect(read(['--token-file', file]).token).toEqual({ '': TOKEN })
    }
  })

  test('in a file that cannot be read is an error', () => {
    using folder = emptyFolder()
    expect(messageOf(['--token-file', folder.file('none')])).toMatch(/^The token file .+ cannot be read: ENOENT\.$/)
    chmodSync(folder.path, 0o700)
    expect(messageOf(['--token-file', folder.path])).toMatch(
      /^The token file .+ cannot be read: it is no regular file\.$/,
    )
  })

  test('comes from one place', () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, TOKEN, { mode: 0o600 })
    for (const token of [TOKEN, ''])
      expect(messageOf(['--token-file', file], { PSYS_KILL_TOKEN: token })).toMatch(/^Both .+ keep one of them\.$/)
  })
})

describe('a file of tokens', () => {
  const ALICE = 'the-token-of-alice'
  const BOB = 'the-token-of-bob..'
  const fileWith = (content: string | Buffer) => {
    const folder = emptyFolder()
    writeFileSync(folder.file('tokens'), content, { mode: 0o600 })
    return { ...folder, args: ['--token-file', folder.file('tokens')] }
  }

  test.each<[what: string, content: string, tokens: object]>([
    ['names', `alice:${ALICE}\nbob:${BOB}\n`, { alice: ALICE, bob: BOB }],
    ['a name and a token without one', `alice:${ALICE}\n${TOKEN}`, { alice: ALICE, '': TOKEN }],
    ['comments and empty lines', `# who\n\n  # more\nalice:${ALICE}\n \t\n#bob:${BOB}\n`, { alice: ALICE }],
    ['the ends of lines of Windows', `alice:${ALICE}\r\n\r\nbob:${BOB}\r\n`, { alice: ALICE, bob: BOB }],
    ['a byte order mark', `\ufeffalice:${ALICE}\n`, { alice: ALICE }],
    ['a byte order mark and a comment', `\ufeff# who\nalice:${ALICE}\n`, { alice: ALICE }],
    ['names that objects have', `constructor:${ALICE}\n__proto__:${BOB}`, { constructor: ALICE, ['__proto__']: BOB }],
    ['the longest name', `${'a'.repeat(64)}:${ALICE}`, { ['a'.repeat(64)]: ALICE }],
    ['names in another case', `a:${ALICE}\nA:${BOB}`, { a: ALICE, A: BOB }],
  ])('may have %s', (_what, content, tokens) => {
    using file = fileWith(content)
    expect(Object.entries(read(file.args).token ?? {}).sort()).toEqual(Object.entries(tokens).sort())
  })

  test.each(['', '\n', ' \r\n', '\ufeff', '# only a comment', `#${TOKEN}\n`])(
    'with no token is an error: %j',
    (content) => {
      using file = fileWith(content)
      expect(messageOf(file.args)).toMatch(/^The token file .+ has no token in it\.$/)
    },
  )

  test.each([
    ...[`alice: ${BOB}`, `alice :${BOB}`, `:${BOB}`, 'bob:', 'bob:short', `a:b:${BOB}`, `${'a'.repeat(65)}:${BOB}`],
    ...[`bób:${BOB}`, `b/b:${BOB}`, `bob=${BOB}:`, `bob:${BOB}:`, `bob:${BOB},carol:${TOKEN}`, 'b'.repeat(15)],
  ])('with a line that is none is an error by its number, and repeats nothing of it: %j', (line) => {
    using file = fileWith(`# tokens\nalice:${ALICE}\n${line}\n`)
    const message = messageOf(file.args)
    expect(message).toMatch(/^The token in line 3 of .+ must be 16 or more of /)
    for (const secret of [ALICE, BOB, 'short,']) expect(message).not.toContain(secret)
  })

  test.each([
    ['a name', `alice:${ALICE}\nalice:${BOB}`],
    ['a token', `alice:${ALICE}\nbob:${ALICE}`],
    ['a token, without a name', `alice:${ALICE}\n${ALICE}`],
    ['a line', `${ALICE}\n${ALICE}`],
    ['no name', `${ALICE}\n${BOB}`],
  ])('with %s twice is an error', (_what, content) => {
    using file = fileWith(content)
    const message = messageOf(file.args)
    expect(message).toMatch(/^The token in line 2 of .+, or its name, stands there twice/)
    expect(message).not.toContain(ALICE)
  })

  test('in UTF-16 is an error', () => {
    using file = fileWith(Buffer.from(`\ufeff${TOKEN}`, 'utf16le'))
    expect(messageOf(file.args)).toMatch(/^The token in line 1 of /)
  })

  test('that is a pipe is an error, and waits for nobody', () => {
    using folder = emptyFolder()
    execFileSync('mkfifo', ['-m', '600', folder.file('pipe')])
    expect(messageOf(['--token-file', folder.file('pipe')])).toMatch(/ cannot be read: it is no regular file\.$/)
  })

  test('may be a link, as those of Kubernetes are', () => {
    using file = fileWith(TOKEN)
    symlinkSync(file.file('tokens'), file.file('link'))
    expect(read(['--token-file', file.file('link')]).token).toEqual({ '': TOKEN })
  })
})

test('the variable may name its token as well, in one line', () => {
  expect(read([], { PSYS_KILL_TOKEN: `alice:${TOKEN}` }).token).toEqual({ alice: TOKEN })
  for (const token of [`alice:${TOKEN}\nbob:${TOKEN}x`, `# ${TOKEN}`, `al ice:${TOKEN}`, `alice:${TOKEN}\n`])
    expect(messageOf([], { PSYS_KILL_TOKEN: token })).toMatch(/^The token in PSYS_KILL_TOKEN must be /)
})
