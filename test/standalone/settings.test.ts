import { writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HELP } from '../../src/standalone/help.ts'
import { readSettings, type Settings } from '../../src/standalone/settings.ts'
import type { Nothing } from '../../src/standalone/start.ts'
import { emptyFolder } from '../support/folder.ts'
import {
  type Env,
  messageOf,
  misspelt,
  noWarning,
  OPTIONS,
  read,
  serviceValue,
  someValue,
  TOKEN,
  VARIABLES,
} from '../support/settings.ts'

test('without settings it listens on loopback for loopback names, and needs nothing', () => {
  expect(read()).toEqual({
    host: '127.0.0.1',
    port: 3000,
    isOpen: true,
    allowProxy: false,
    hosts: ['localhost', '127.0.0.1', '[::1]', '127.0.0.1'],
    quiet: false,
  })
})

test('a setting that an entry does not use does not compile', () => {
  const { socket: _used, ...rest } = { socket: '', 'new-setting': '' }
  // @ts-expect-error
  rest satisfies Nothing
  const { 'new-setting': _usedToo, ...nothing } = rest
  nothing satisfies Nothing
})

describe('each setting', () => {
  const cases: [option: keyof typeof VARIABLES, given: string, setting: keyof Settings, value: unknown][] = [
    ['host', '127.0.0.9', 'host', '127.0.0.9'],
    ['port', '8080', 'port', 8080],
    ['port', '0', 'port', 0],
    ['port', '65535', 'port', 65_535],
    ['port', ' 80\t', 'port', 80],
    ['socket', '/run/kill.sock', 'socket', '/run/kill.sock'],
    [
      'allow-origin',
      'https://a.example,http://b.example:81',
      'allowOrigin',
      ['https://a.example', 'http://b.example:81'],
    ],
    ['protect', '1, 22 ,2147483647', 'protect', [1, 22, 2_147_483_647]],
    ['protect', 'sshd, 0042 ,7z,Web Content,(sd-pam),é', 'protect', ['sshd', 42, '7z', 'Web Content', '(sd-pam)', 'é']],
    ['only-uid', '0,1000 , 4294967294', 'onlyUid', [0, 1000, 4_294_967_294]],
  ]

  test.each(cases)('--%s takes %j, and so does its variable, over which it wins', (option, given, setting, value) => {
    expect(read([`--${option}`, given])[setting]).toEqual(value)
    expect(read([`--${option}=${given}`])[setting]).toEqual(value)
    expect(read([], { [VARIABLES[option]]: given })[setting]).toEqual(value)
    expect(read([`--${option}`, given], { [VARIABLES[option]]: 'not looked at' })[setting]).toEqual(value)
  })

  test('takes several values with commas, by repetition, or both', () => {
    expect(read(['--protect', '5', '--protect', '6,7']).protect).toEqual([5, 6, 7])
  })

  test('that is a flag takes no value, and 1 in its variable', () => {
    expect(read(['--quiet']).quiet).toBe(true)
    expect(read(['--quiet', '--quiet']).quiet).toBe(true)
    expect(read([], { PSYS_KILL_QUIET: '1' }).quiet).toBe(true)
    expect(read(['--quiet'], { PSYS_KILL_QUIET: 'not looked at' }).quiet).toBe(true)
  })

  test('is in the help with its variable, in columns that a terminal of 80 shows', () => {
    for (const [option, variable] of Object.entries(VARIABLES))
      expect(HELP).toMatch(new RegExp(`^  --${option} +${variable} +\\S.*\\n {19}\\S`, 'm'))
    expect(HELP.match(/^ {2}--\S+ +[A-Z_]+ /gm)).toHaveLength(OPTIONS.length)
    expect(HELP).toMatch(/^ {19}PSYS_KILL_TOKEN /m)
    for (const line of HELP.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  })

  test('in the examples of the help is one that there is', () => {
    const examples = [...HELP.matchAll(/^ {2}psys-kill (.+)$/gm)].map(([, args = '']) => args.split(' '))
    expect(examples).toHaveLength(3)
    using folder = emptyFolder()
    writeFileSync(folder.file('token'), TOKEN, { mode: 0o600 })
    for (const args of examples) read(args.map((arg) => arg.replace('/etc/psys-kill.token', folder.file('token'))))
  })
})

test.each([['--help'], ['-h'], ['--help', '--version'], ['--port', 'wrong', '-h']])('%j %j is help', (...args) => {
  expect(readSettings(args, { PSYS_KILL_WRONG: '' }, noWarning)).toBe('help')
})

test.each(['--version', '-v'])('%s is the version, whatever the rest', (flag) => {
  expect(readSettings([flag, '--port', 'wrong'], { PSYS_KILL_TOKEN: '' }, noWarning)).toBe('version')
})

describe('a value that is wrong', () => {
  const BAD_PATHS = ['', ' ', '\t\n', '\0', '/run/a\0b', '/run/a\0', '\0abstract']
  const wrong: [option: keyof typeof VARIABLES, values: string[]][] = [
    ['host', BAD_PATHS],
    ['port', ['', ' ', '65536', '-1', '80.5', '0x50', '1e3', '80a', '٨٠', 'NaN', '80\0']],
    ['socket', [...BAD_PATHS, `/${'x'.repeat(103)}`, `/${'ä'.repeat(52)}`]],
    ['token-file', BAD_PATHS],
    ['tls-cert', BAD_PATHS],
    ['tls-key', BAD_PATHS],
    ['tls-client-ca', BAD_PATHS],
    ['allow-host', ['', ',', 'a,', 'A.example', 'a.example:80', 'http://a.example', '::1', 'a b', '*', 'a/b', 'a\0']],
    ['allow-host', ['[::1', '::1]', 'x[::1]', '[::1]x', '[]', '[a.example]']],
    ['allow-origin', ['', '*', 'null', 'a.example', 'https://a.example/', 'https://a.example/x', 'https://A.example']],
    ['allow-origin', ['https://', 'https://a.example:443', 'ftp://a.example', 'file:///', 'https://a.example\0']],
    [
      'protect',
      ['', '0', '-5', '5,', '5.5', '2147483648', '9'.repeat(400), '5\0', 'init\0', ' ', ' sshd', 'sshd ', '٥'],
    ],
    ['only-uid', ['', '-1', '1000,', '1.5', 'www-data', '0x0', '4294967295', '*', '1000\0']],
    ['quiet', ['', '0', 'true', '11', ' 1', 'yes']],
  ]
  const each = wrong.flatMap(([option, values]) => values.map((value) => [option, value] as const))

  test.each(each)('of --%s or its variable is refused by both names: %j', (option, value) => {
    const message = messageOf([], { [VARIABLES[option]]: value })
    expect(message).toMatch(new RegExp(`^--${option} \\(${VARIABLES[option]}\\) takes .+, not .+\\.$`))
    expect(message).toContain(JSON.stringify(value))
    if (option !== 'quiet') expect(messageOf([`--${option}=${value}`])).toBe(message)
  })

  test('is refused in any place of a list', () => {
    expect(messageOf(['--protect', '5', '--protect', 'x,-5'])).toContain('["5","x,-5"]')
  })

  test.each(['host', 'port', 'socket', 'token-file'])('is a second one for --%s', (option) => {
    expect(messageOf([`--${option}`, '1', `--${option}`, '1'])).toContain(`--${option}`)
  })
})

test.each([
  ['an unknown option', ['--unknown']],
  ['an unknown option with a value', ['--unknown=1']],
  ['the token as an option', [`--token=${TOKEN}`]],
  ['an unknown letter', ['-x']],
  ['the token as an argument', [TOKEN]],
  ['the token after --', ['--', `--host=${TOKEN}`]],
  ['no value at the end', ['--port']],
  ['no value before an option', ['--port', '--quiet']],
  ['a value for --quiet', ['--quiet=1']],
  ['an empty value for --quiet', ['--quiet=']],
  ['the opposite of --quiet', ['--no-quiet']],
  ['a value for --help', ['--help=1']],
])('on the command line %s is an error that points to the help', (_what, args) => {
  expect(messageOf(args)).toMatch(/[^.]\. See --help\.$/)
})

test('on the command line an option is named in the error, and an argument is not, which may be a secret', () => {
  expect(messageOf(['--unknown'])).toMatch(/^Unknown option '--unknown'/)
  expect(messageOf([TOKEN])).toBe('Unexpected argument. See --help.')
})

test('an option that is one character off is an error', () => {
  const options = [...OPTIONS, 'help', 'version'].map((option) => `--${option}`)
  fc.assert(
    fc.property(misspelt(options), fc.oneof(someValue, serviceValue), fc.boolean(), (option, value, joined) => {
      messageOf(joined ? [`${option}=${value}`] : [option, value])
    }),
  )
})

describe('an address beyond loopback', () => {
  const beyond = [
    ...['0.0.0.0', '::', '[::]', '10.0.0.1', '192.168.1.1', '::ffff:127.0.0.1', 'fe80::1', '128.0.0.1', '127.example'],
    ...['127.0.0.1.example', 'localhost.example', 'name', '127.1', '0', ' 127.0.0.1'],
  ]

  test.each(beyond)('needs a token: %j', (host) => {
    expect(messageOf(['--host', host])).toMatch(/^Listening on .* token .+ 127\.0\.0\.1\.$/)
    expect(messageOf([], { PSYS_KILL_HOST: host })).toContain('token')
  })

  test.each(beyond)('answers any Host, or those named: %j', (host) => {
    expect(read(['--host', host], { PSYS_KILL_TOKEN: TOKEN })).toMatchObject({ hosts: undefined, token: { '': TOKEN } })
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

test.each(['[::1', '::1]', 'x[::1]', '[::1]x'])('%s, which is no address in brackets, stays as it is', (host) => {
  expect(messageOf(['--host', host])).toContain(`Listening on ${host} lets the network in`)
  expect(read(['--host', host], { PSYS_KILL_TOKEN: TOKEN }).host).toBe(host)
})

describe('a socket', () => {
  test('needs no token, and accepts any Host or those named', () => {
    expect(read(['--socket', '/run/s'])).toMatchObject({ socket: '/run/s', token: undefined, hosts: undefined })
    expect(read(['--socket', '/run/s', '--allow-host', 'a.example']).hosts).toEqual(['a.example'])
  })

  test.each(['38080', '0x9470', '0', '99999', '.5', '1e3', 'Infinity', ' 80', '-1', 'name', '127.0.0.1:80'])(
    'is a path, whatever it looks like: %j',
    (path) => {
      expect(read([`--socket=${path}`]).socket).toBe(`./${path}`)
      expect(read([], { PSYS_KILL_SOCKET: path }).socket).toBe(`./${path}`)
    },
  )

  test.each(['/run/s', './80', '../80', 'folder/80'])('stays as it is where it can be nothing else: %s', (path) => {
    expect(read(['--socket', path]).socket).toBe(path)
  })

  test('has a path that fits into a socket address', () => {
    // sun_path has room for 108 bytes with the final NUL (unix(7)), and for 104 on macOS.
    expect(read(['--socket', `/${'x'.repeat(102)}`]).socket).toHaveLength(103)
  })

  test.each<[what: string, args: string[], env: Env]>([
    ['--host', ['--socket', '/run/s', '--host', '127.0.0.1'], {}],
    ['--port', ['--socket', '/run/s', '--port', '0'], {}],
    ['--host, with the socket in the environment', ['--host', '127.0.0.1'], { PSYS_KILL_SOCKET: '/run/s' }],
    ['--port, with the socket in the environment', ['--port', '0'], { PSYS_KILL_SOCKET: '/run/s' }],
    ['PSYS_KILL_HOST, both in the environment', [], { PSYS_KILL_SOCKET: '/run/s', PSYS_KILL_HOST: '127.0.0.1' }],
  ])('and %s contradict each other', (_what, args, env) => {
    expect(messageOf(args, env)).toBe(
      'A socket (--socket, PSYS_KILL_SOCKET) has no host and no port; keep one of them.',
    )
  })

  test.each<[what: string, args: string[], env: Env]>([
    ['PORT', [], { PSYS_KILL_SOCKET: '/run/s', PORT: '8080' }],
    ['PORT, on the command line', ['--socket', '/run/s'], { PORT: '8080' }],
    ['PSYS_KILL_HOST, on the command line', ['--socket', '/run/s'], { PSYS_KILL_HOST: '0.0.0.0' }],
    ['PSYS_KILL_SOCKET, on the command line', ['--socket', '/run/s'], { PSYS_KILL_SOCKET: '/run/other' }],
  ])('wins over %s', (_what, args, env) => {
    expect(read(args, env)).toMatchObject({ socket: '/run/s', hosts: undefined })
  })
})
