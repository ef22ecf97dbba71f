import { chmodSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { HELP, readSettings, type Settings, SettingsError } from '../../src/standalone/settings.ts'
import { emptyFolder } from '../support/folder.ts'

const TOKEN = 'correct-horse-battery-staple'

const noWarning = (text: string): void => expect.unreachable(text)

const read = (args: readonly string[] = [], env: Record<string, string> = {}, warn = noWarning): Settings => {
  const settings = readSettings(args, env, warn)
  if (typeof settings === 'string') throw new Error(settings)
  return settings
}

const messageOf = (args: readonly string[], env: Record<string, string> = {}) => {
  try {
    readSettings(args, env, noWarning)
  } catch (error) {
    expect(error).toBeInstanceOf(SettingsError)
    return String(error instanceof Error && error.message)
  }
  return expect.unreachable('it took them')
}

test('without settings it listens on loopback for loopback names, and needs nothing', () => {
  expect(read()).toEqual({
    host: '127.0.0.1',
    port: 3000,
    socket: undefined,
    token: undefined,
    hosts: ['localhost', '127.0.0.1', '[::1]', '127.0.0.1'],
    origins: undefined,
    protect: undefined,
    quiet: false,
  })
})

describe('each setting', () => {
  const cases: [option: string, variable: string, given: string, setting: keyof Settings, value: unknown][] = [
    ['host', 'PSYS_KILL_HOST', '127.0.0.9', 'host', '127.0.0.9'],
    ['port', 'PORT', '8080', 'port', 8080],
    ['port', 'PORT', '0', 'port', 0],
    ['port', 'PORT', '65535', 'port', 65_535],
    ['port', 'PORT', ' 80\t', 'port', 80],
    ['socket', 'PSYS_KILL_SOCKET', '/run/kill.sock', 'socket', '/run/kill.sock'],
    [
      'allow-origin',
      'PSYS_KILL_ALLOW_ORIGIN',
      'https://a.example,http://b.example:81',
      'origins',
      ['https://a.example', 'http://b.example:81'],
    ],
    ['protect', 'PSYS_KILL_PROTECT', '1, 22 ,2147483647', 'protect', [1, 22, 2_147_483_647]],
  ]

  test.each(cases)('--%s, %s takes %s', (option, variable, given, setting, value) => {
    expect(read([`--${option}`, given])[setting]).toEqual(value)
    expect(read([`--${option}=${given}`])[setting]).toEqual(value)
    expect(read([], { [variable]: given })[setting]).toEqual(value)
  })

  test.each(cases)('--%s wins over %s', (option, variable, given, setting, value) => {
    expect(read([`--${option}`, given], { [variable]: 'not looked at' })[setting]).toEqual(value)
  })

  test('several values come with commas, by repetition, or both', () => {
    expect(read(['--protect', '5', '--protect', '6,7']).protect).toEqual([5, 6, 7])
  })

  test('--quiet is a flag, and PSYS_KILL_QUIET is 1', () => {
    expect(read(['--quiet']).quiet).toBe(true)
    expect(read([], { PSYS_KILL_QUIET: '1' }).quiet).toBe(true)
  })

  test('is in the help with its variable', () => {
    for (const [option, variable] of [...cases, ['allow-host', 'PSYS_KILL_ALLOW_HOST'], ['quiet', 'PSYS_KILL_QUIET']])
      expect(HELP).toContain(`--${option}, ${variable}: `)
    expect(HELP).toMatch(/\bPSYS_KILL_TOKEN$/m)
    for (const line of HELP.split('\n')) expect(line.length).toBeLessThanOrEqual(110)
  })
})

test.each([['--help'], ['-h'], ['--help', '--version'], ['--port', 'wrong', '-h']])(
  '%j %j asks for help',
  (...args) => {
    expect(readSettings(args, {}, noWarning)).toBe('help')
  },
)

test.each(['--version', '-v'])('%s asks for the version, whatever the rest', (flag) => {
  expect(readSettings([flag, '--port', 'wrong'], { PSYS_KILL_TOKEN: '' }, noWarning)).toBe('version')
})

describe('a wrong value', () => {
  const wrong: [option: string, variable: string, values: string[]][] = [
    ['host', 'PSYS_KILL_HOST', ['']],
    ['port', 'PORT', ['', ' ', '65536', '-1', '80.5', '0x50', '1e3', '80a', '٨٠', 'NaN']],
    ['socket', 'PSYS_KILL_SOCKET', ['']],
    ['token-file', 'PSYS_KILL_TOKEN_FILE', ['']],
    [
      'allow-host',
      'PSYS_KILL_ALLOW_HOST',
      ['', ',', 'a,', 'A.example', 'a.example:80', 'http://a.example', '::1', 'a b', '*', 'a/b'],
    ],
    [
      'allow-origin',
      'PSYS_KILL_ALLOW_ORIGIN',
      [
        '',
        '*',
        'null',
        'a.example',
        'https://a.example/',
        'https://a.example/x',
        'https://A.example',
        'https://a.example:443',
        'ftp://a.example',
        'https://',
        'file:///',
      ],
    ],
    ['protect', 'PSYS_KILL_PROTECT', ['', '0', '-5', '5,', '5.5', 'init', '2147483648']],
    ['quiet', 'PSYS_KILL_QUIET', ['', '0', 'true', '11']],
  ]
  const each = wrong.flatMap(([option, variable, values]) => values.map((value) => [option, variable, value] as const))

  test.each(each)('of --%s, %s is refused by both names: %j', (option, variable, value) => {
    const message = messageOf([], { [variable]: value })
    expect(message).toMatch(new RegExp(`^--${option} \\(${variable}\\) takes .+, not .+\\.$`))
    expect(message).toContain(JSON.stringify(value))
    if (option !== 'quiet') expect(messageOf([`--${option}=${value}`])).toBe(message)
  })

  test('is refused in any place of a list', () => {
    expect(messageOf(['--protect', '5', '--protect', 'x'])).toContain('["5","x"]')
  })

  test('is a second one for what takes one', () => {
    for (const option of ['host', 'port', 'socket', 'token-file'])
      expect(messageOf([`--${option}`, '1', `--${option}`, '1'])).toContain(`--${option}`)
  })
})

test.each([
  ['--unknown'],
  ['--unknown=1'],
  ['argument'],
  ['--port'],
  ['--port', '--quiet'],
  ['--quiet=1'],
  ['--help=1'],
  ['-x'],
])('an option that there is not, or that is incomplete, is one line: %s %s', (...args) => {
  expect(messageOf(args)).toMatch(/^[^\n]+ See --help\.$/)
})

describe('an address beyond loopback', () => {
  const beyond = [
    '0.0.0.0',
    '::',
    '[::]',
    '10.0.0.1',
    '192.168.1.1',
    '::ffff:127.0.0.1',
    'fe80::1',
    '128.0.0.1',
    '127.example',
    '127.0.0.1.example',
    'localhost.example',
    'name',
    '127.1',
  ]

  test.each(beyond)('needs a token: %s', (host) => {
    expect(messageOf(['--host', host])).toMatch(/^Listening on .+ token .+ 127\.0\.0\.1\.$/)
    expect(messageOf([], { PSYS_KILL_HOST: host })).toContain('token')
  })

  test.each(beyond)('answers any Host, or those named: %s', (host) => {
    expect(read(['--host', host], { PSYS_KILL_TOKEN: TOKEN })).toMatchObject({ hosts: undefined, token: TOKEN })
    const named = read(['--host', host, '--allow-host', 'a.example'], { PSYS_KILL_TOKEN: TOKEN })
    expect(named.hosts).toEqual(['a.example'])
  })
})

test.each([
  ['127.0.0.1', '127.0.0.1', '127.0.0.1'],
  ['127.0.0.2', '127.0.0.2', '127.0.0.2'],
  ['127.255.255.254', '127.255.255.254', '127.255.255.254'],
  ['localhost', 'localhost', 'localhost'],
  ['::1', '::1', '[::1]'],
  ['[::1]', '::1', '[::1]'],
])('%s is loopback: no token, and only its own names and those added', (given, host, name) => {
  expect(read(['--host', given])).toMatchObject({ host, hosts: ['localhost', '127.0.0.1', '[::1]', name] })
  const { hosts } = read(['--host', given, '--allow-host', 'a.example , [fe80::1]', '--allow-host', 'under_score'])
  expect(hosts).toEqual(['localhost', '127.0.0.1', '[::1]', name, 'a.example', '[fe80::1]', 'under_score'])
})

describe('a socket', () => {
  test('wins over host and port, and needs no token', () => {
    expect(read(['--socket', '/run/s', '--host', '0.0.0.0'])).toMatchObject({ socket: '/run/s', token: undefined })
  })

  test('accepts any Host, or those named', () => {
    expect(read(['--socket', '/run/s']).hosts).toBeUndefined()
    expect(read(['--socket', '/run/s', '--allow-host', 'a.example']).hosts).toEqual(['a.example'])
  })

  test('has a path that fits into a socket address', () => {
    // sun_path has room for 108 bytes with the final NUL (unix(7)); what is longer would be cut off silently.
    expect(read(['--socket', `/${'x'.repeat(102)}`]).socket).toHaveLength(103)
    expect(messageOf(['--socket', `/${'x'.repeat(107)}`])).toContain('--socket')
    expect(messageOf(['--socket', `/${'ä'.repeat(54)}`])).toContain('--socket')
  })
})

describe('the token', () => {
  test.each(['a'.repeat(16), 'AZaz09-._~+/AZaz09', 'dG9rZW4gaW4gYmFzZTY0==', TOKEN])('may be %s', (token) => {
    expect(read([], { PSYS_KILL_TOKEN: token }).token).toBe(token)
  })

  test.each([
    '',
    ' ',
    'short',
    'a'.repeat(15),
    'with a space in it',
    'mid=dle-of-the-token',
    '='.repeat(16),
    'ünicode-in-the-token',
    ` ${TOKEN}`,
    `${TOKEN}\n`,
    `${TOKEN}"`,
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
    for (const content of ['', '\n', 'too-short', `${TOKEN}\n${TOKEN}`]) {
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
