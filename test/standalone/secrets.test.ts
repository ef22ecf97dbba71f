import { execFileSync } from 'node:child_process'
import { chmodSync, symlinkSync, writeFileSync } from 'node:fs'
import { afterAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { readSettingFile } from '../../src/standalone/secrets.ts'
import { pretendPlatform } from '../support/fakes.ts'
import { emptyFolder } from '../support/folder.ts'
import { messageOf, read, TOKEN } from '../support/settings.ts'

const ALICE = 'the-token-of-alice'
const BOB = 'the-token-of-bob..'

const folder = emptyFolder()
afterAll(() => folder[Symbol.dispose]())
const file = folder.file('tokens')
const args = ['--token-file', file]
const write = (content: string | Buffer) => {
  writeFileSync(file, content)
  chmodSync(file, 0o600)
}

// Which tokens are right is tested in test/server/token.test.ts.
describe('PSYS_KILL_TOKEN', () => {
  test('may hold what a file may hold, in lines', () => {
    const { tokens } = read([], { PSYS_KILL_TOKEN: `# us\nalice:${ALICE}\n bob:${BOB}\n` })
    expect(tokens).toEqual({ alice: ALICE, bob: BOB })
  })

  test('is not combined with a file', () => {
    write(TOKEN)
    for (const token of [TOKEN, ''])
      expect(messageOf(args, { PSYS_KILL_TOKEN: token })).toMatch(/^Set --token-file or PSYS_KILL_TOKEN, not both\.$/)
  })
})

describe('a token file', () => {
  test.each<[what: string, content: string, tokens: object]>([
    ['white space around the token', `\n ${TOKEN} \r\n`, { '': TOKEN }],
    ['names', `alice:${ALICE}\nbob:${BOB}\n`, { alice: ALICE, bob: BOB }],
    ['a token without a name', `alice:${ALICE}\n${TOKEN}`, { alice: ALICE, '': TOKEN }],
    ['comments and empty lines', `# who\n\n  # more\nalice:${ALICE}\n \t\n#bob:${BOB}\n`, { alice: ALICE }],
    ['the line ends of Windows', `alice:${ALICE}\r\n\r\nbob:${BOB}\r\n`, { alice: ALICE, bob: BOB }],
    ['a byte order mark', `\ufeff# who\nalice:${ALICE}\n`, { alice: ALICE }],
    ['names that objects have', `constructor:${ALICE}\n__proto__:${BOB}`, { constructor: ALICE, ['__proto__']: BOB }],
    ['the longest name', `${'a'.repeat(64)}:${ALICE}`, { ['a'.repeat(64)]: ALICE }],
    ['names in another case', `a:${ALICE}\nA:${BOB}`, { a: ALICE, A: BOB }],
  ])('may have %s', (_what, content, tokens) => {
    write(content)
    for (const settings of [read(args), read([], { PSYS_KILL_TOKEN_FILE: file })])
      expect(Object.entries(settings.tokens ?? {}).sort()).toEqual(Object.entries(tokens).sort())
  })

  test.each(['', '\ufeff \r\n', `#${TOKEN}\n`])('without a token is an error: %j', (text) => {
    write(text)
    expect(messageOf(args)).toBe('There is no token in the token file.')
    expect(messageOf([], { PSYS_KILL_TOKEN: text })).toBe('There is no token in PSYS_KILL_TOKEN.')
  })

  test.each([
    ...[`alice: ${BOB}`, `:${BOB}`, 'bob:', 'bob:short', `a:b:${BOB}`, `${'a'.repeat(65)}:${BOB}`, `bób:${BOB}`],
    ...[`bob:${BOB}:x`, `bob:${BOB},carol:${TOKEN}`, 'b'.repeat(15), `${TOKEN} # a comment`, 'horse battery-staple'],
  ])('with a malformed line is an error with its number, which repeats nothing of it: %j', (line) => {
    write(`# tokens\nalice:${ALICE}\n${line}\n`)
    const messages = [messageOf(args), messageOf([], { PSYS_KILL_TOKEN: line })]
    const wrong = /^(a{65}|bób):/.test(line) ? 'A name must have 1 to 64 of ' : 'A token must have 16 or more of '
    expect(messages[0]).toContain(`Line 3 of the token file: ${wrong}`)
    expect(messages[1]).toContain(`Line 1 of PSYS_KILL_TOKEN: ${wrong}`)
    for (const secret of [ALICE, BOB, 'short', 'bbb', 'battery']) expect(messages.join()).not.toContain(secret)
  })

  test.each([`alice:${ALICE}\nalice:${BOB}`, `alice:${ALICE}\nbob:${ALICE}`, `${ALICE}\n${ALICE}`, `${ALICE}\n${BOB}`])(
    'with a name or a token twice is an error: %j',
    (content) => {
      write(content)
      const message = messageOf(args)
      expect(message).toMatch(/^Line 2 of .+ repeats a token or a name; /)
      for (const token of [ALICE, BOB]) expect(message).not.toContain(token)
    },
  )

  test('may be a link, as in Kubernetes; if it cannot be read, that is an error, and nobody waits for a pipe', () => {
    write(TOKEN)
    symlinkSync(file, folder.file('link'))
    expect(read(['--token-file', folder.file('link')]).tokens).toEqual({ '': TOKEN })
    execFileSync('mkfifo', ['-m', '600', folder.file('pipe')])
    for (const path of [folder.path, folder.file('pipe')])
      expect(messageOf(['--token-file', path])).toBe('Cannot read the file of --token-file: it is not a regular file.')
    writeFileSync(folder.file('large'), '#'.repeat(1024 * 1024 + 1), { mode: 0o600 })
    const reason = messageOf(['--token-file', folder.file('large')])
    expect(reason).toBe('Cannot read the file of --token-file: it is larger than 1 MiB.')
  })

  test.each([TOKEN, `/${TOKEN}`, `~${TOKEN}`, `${TOKEN}/x`, 'token'])(
    'is not named, because it may be a token: %s',
    (path) => {
      expect(messageOf(['--token-file', path])).toMatch(
        /^Cannot read the file of --token-file: ENO\w+; check its path and its mode\.$/,
      )
    },
  )
})

describe('a file that other users can', () => {
  let warnings: string[] = []
  const warn = (text: string) => void warnings.push(text.replace('psys-kill: ', ''))
  const ends = { read: 'run chmod o-r on it.', change: 'run chmod o-w on it.' } as const
  beforeEach(() => {
    warnings = []
    write(TOKEN)
  })

  test.each<[mode: number, may: (keyof typeof ends)[]]>([
    [0o660, []],
    [0o604, ['read']],
    [0o602, ['change']],
    [0o666, ['change', 'read']],
  ])('open with mode %o is a warning for %j', (mode, may) => {
    chmodSync(file, mode)
    expect(read(args, {}, warn).tokens).toEqual({ '': TOKEN })
    expect(warnings).toEqual(may.map((verb) => `Every local user can ${verb} the file of --token-file; ${ends[verb]}`))
    using _windows = pretendPlatform('win32')
    expect(read(args).tokens).toEqual({ '': TOKEN })
  })

  test('read is no warning if it is no secret; change is', () => {
    chmodSync(file, 0o646)
    using _written = vi.spyOn(console, 'error').mockImplementation(warn)
    expect(readSettingFile('--tls-cert', file).toString()).toBe(TOKEN)
    expect(warnings).toEqual([`Every local user can change the file of --tls-cert; ${ends.change}`])
  })
})
