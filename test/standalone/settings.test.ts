import { writeFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { HELP, optionOf, SETTINGS, variableOf } from '../../src/standalone/options.ts'
import { askedFor } from '../../src/standalone/settings.ts'
import type { Nothing } from '../../src/standalone/setup.ts'
import { emptyFolder } from '../support/folder.ts'
import { type Env, messageOf, read, TOKEN } from '../support/settings.ts'

type Name = keyof typeof SETTINGS
const withToken = { PSYS_KILL_TOKEN: TOKEN }

test('without settings it listens on loopback for loopback names, and requires nothing', () => {
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
  const { socket: _used, ...rest } = { socket: '', newSetting: '' }
  // @ts-expect-error
  rest satisfies Nothing
  const { newSetting: _usedToo, ...nothing } = rest
  nothing satisfies Nothing
})

describe('each setting', () => {
  const origins = ['https://a.example', 'http://b.example:81', 'http://[::1]:5173']
  const cases: [name: Name, given: string, value: unknown][] = [
    ['host', '127.0.0.9', '127.0.0.9'],
    ['port', '8080', 8080],
    ['port', '0', 0],
    ['port', '65535', 65_535],
    ['port', ' 80\t', 80],
    ['socket', '/run/kill.sock', '/run/kill.sock'],
    // sun_path has 108 bytes with the final NUL (unix(7)), on macOS 104.
    ['socket', `/${'x'.repeat(102)}`, `/${'x'.repeat(102)}`],
    ['allowOrigin', origins.join(','), origins],
    ['protect', '1, 22 ,2147483647', [1, 22, 2_147_483_647]],
    ['protect', 'sshd, 0042 ,7z,Web Content,(sd-pam),é', ['sshd', 42, '7z', 'Web Content', '(sd-pam)', 'é']],
    ['onlyUid', '0,1000 , 4294967294', [0, 1000, 4_294_967_294]],
  ]

  test.each(cases)('%s takes %j as an option and as a variable; the option wins', (name, given, value) => {
    const [option, variable] = [`--${optionOf(name)}`, variableOf(name)]
    for (const settings of [
      read([option, given]),
      read([`${option}=${given}`]),
      read([], { [variable]: given }),
      read([option, given], { [variable]: 'ignored' }),
    ])
      expect(Reflect.get(settings, name)).toEqual(value)
  })

  test('can be a list: by commas, by repeating the option, or both', () => {
    expect(read(['--protect', '5', '--protect', '6,7']).protect).toEqual([5, 6, 7])
  })

  test.each(['quiet', 'allowProxy'] as const)('%s is a flag: no value as an option, 1 as a variable', (name) => {
    const [option, variable] = [`--${optionOf(name)}`, variableOf(name)]
    expect(read([option])[name]).toBe(true)
    expect(read([option, option], { [variable]: 'ignored' })[name]).toBe(true)
    expect(read([], { [variable]: '1' })[name]).toBe(true)
  })

  test('is in the help with its variable, within 80 columns', () => {
    for (const name of Object.keys(SETTINGS))
      expect(HELP).toMatch(new RegExp(`^  --${optionOf(name)} +${variableOf(name)} +\\S.*\\n {19}\\S`, 'm'))
    expect(HELP).toMatch(/^ {19}PSYS_KILL_TOKEN /m)
    for (const line of HELP.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  })

  test('has a name that stays the same', () => {
    expect(Object.keys(SETTINGS).map((name) => `${optionOf(name)} ${variableOf(name)}`)).toMatchInlineSnapshot(`
      [
        "host PSYS_KILL_HOST",
        "port PORT",
        "socket PSYS_KILL_SOCKET",
        "token-file PSYS_KILL_TOKEN_FILE",
        "tls-cert PSYS_KILL_TLS_CERT",
        "tls-key PSYS_KILL_TLS_KEY",
        "tls-client-ca PSYS_KILL_TLS_CLIENT_CA",
        "allow-host PSYS_KILL_ALLOW_HOST",
        "allow-origin PSYS_KILL_ALLOW_ORIGIN",
        "allow-proxy PSYS_KILL_ALLOW_PROXY",
        "only-uid PSYS_KILL_ONLY_UID",
        "protect PSYS_KILL_PROTECT",
        "quiet PSYS_KILL_QUIET",
      ]
    `)
  })

  test('in the examples of the help exists', () => {
    const examples = [...HELP.matchAll(/^ {2}psys-kill (.+)$/gm)].map(([, args = '']) => args.split(' '))
    expect(examples).toHaveLength(3)
    using folder = emptyFolder()
    writeFileSync(folder.file('token'), TOKEN, { mode: 0o600 })
    for (const args of examples) read(args.map((arg) => arg.replace('/etc/psys-kill.token', folder.file('token'))))
  })
})

test.each([
  [['--help'], 'help'],
  [['-h', '--version'], 'help'],
  [['--port', 'wrong', '-h'], 'help'],
  [['--version'], 'version'],
  [['-v', '--port', 'wrong'], 'version'],
  [['--port', '0'], undefined],
] as const)('%j asks for %s', (args, asked) => {
  expect(askedFor(args)).toBe(asked)
})

describe('a wrong value', () => {
  const BAD_PATHS = ['', ' ', '\t\n', '\0', '/run/a\0b', '\0abstract']
  const wrong: Partial<Record<Name, string[]>> = {
    host: BAD_PATHS,
    port: ['', ' ', '65536', '-1', '80.5', '0x50', '1e3', '80a', '٨٠', 'NaN', '80\0'],
    socket: BAD_PATHS,
    tokenFile: BAD_PATHS,
    tlsCert: BAD_PATHS,
    tlsKey: BAD_PATHS,
    tlsClientCa: BAD_PATHS,
    allowHost: [
      ...['', ',', 'a,', 'A.example', 'a.example:80', 'http://a.example', '::1', 'a b', '*', 'a/b', 'a\0'],
      ...['[::1', '::1]', 'x[::1]', '[::1]x', '[]', '[a.example]'],
    ],
    allowOrigin: [
      ...['', '*', 'null', 'a.example', 'https://a.example/', 'https://A.example', 'https://'],
      ...['http://a.de:80', 'ftp://a.example', 'file:///', 'https://a.de\0'],
    ],
    protect: ['', '0', '-5', '5,', '5.5', '2147483648', '5\0', 'init\0', ' ', ' sshd', 'sshd ', '٥'],
    onlyUid: ['', '-1', '1000,', '1.5', 'www-data', '0x0', '4294967295', '*', '1000\0'],
    quiet: ['', '0', 'true', '11', ' 1', 'yes'],
  }
  const each = Object.entries(wrong).flatMap(([name, values]) => values.map((value) => [name, value] as const))

  test.each(each)('of %s is refused with both its names, and shown: %j', (name, value) => {
    const [option, variable] = [`--${optionOf(name)}`, variableOf(name)]
    const message = messageOf([], { [variable]: value })
    expect(message).toMatch(new RegExp(`^${option} \\(${variable}\\) takes .+`))
    if (!/[\w./]{16}/.test(value)) expect(message).toContain(`, not ${JSON.stringify(value)}.`)
    if (name !== 'quiet') expect(messageOf([`${option}=${value}`])).toBe(message)
  })

  test('is refused in any place of a list', () => {
    expect(messageOf(['--protect', '5', '--protect', 'x,-5'])).toContain('["5","x,-5"]')
  })

  test.each(['host', 'port', 'socket', 'token-file'])('is a second one for --%s', (option) => {
    expect(messageOf([`--${option}`, '1', `--${option}`, '1'])).toContain(`--${option}`)
  })

  // `messageOf` looks for the token in every message.
  test.each([
    ...['port', 'host', 'only-uid', 'token-file', 'quiet', 'token'].map((option) => `--${option}=${TOKEN}`),
    ...[`--allow-host=${TOKEN}/`, `--allow-origin=${TOKEN}`, `--allow-origin=https://a.de/${TOKEN}`],
    ...[`--protect=${TOKEN}\0`, `--socket=${TOKEN}\0`, `--token-file=/${TOKEN}`, TOKEN],
  ])('is not repeated if it is the token: %j', (arg) => {
    messageOf([arg])
  })

  test.each(['PORT', 'PSYS_KILL_HOST', 'PSYS_KILL_ALLOW_PROXY', 'PSYS_KILL_TOKEN_FILE', 'PSYS_KILL_X'])(
    'is not repeated if it is the token: %s',
    (name) => {
      messageOf([], { [name]: TOKEN })
    },
  )

  test('is a path of a socket that is too long', () => {
    for (const path of [`/${'x'.repeat(103)}`, `/${'ä'.repeat(52)}`])
      expect(messageOf(['--socket', path])).toContain('--socket (PSYS_KILL_SOCKET) takes a path of at most 103 bytes')
  })
})

test.each([
  [['--unknown'], "Unknown option '--unknown'. See --help."],
  [[`--token=${TOKEN}`], "Unknown option '--token'. See --help."],
  [['--Host', 'x'], "Unknown option '--Host'. See --help."],
  [['--no-quiet'], "Unknown option '--no-quiet'. See --help."],
  [['-x'], "Unknown option '-x'. See --help."],
  [[TOKEN], 'An argument belongs to no option: put --NAME before each value. See --help.'],
  [['--', `--host=${TOKEN}`], 'An argument belongs to no option: put --NAME before each value. See --help.'],
  [['--quiet', TOKEN], 'An argument belongs to no option: put --NAME before each value. See --help.'],
  [['--port'], "Option '--port <value>' argument missing. See --help."],
  [['--port', '-1'], "Option '--port' needs a value; write --NAME=VALUE if the value begins with a dash. See --help."],
  [['--quiet=1'], "Option '--quiet' does not take an argument. See --help."],
  [['--help=1'], "Option '-h, --help' does not take an argument. See --help."],
])('the command line %j is an error that says what to do', (args, message) => {
  expect(messageOf(args)).toBe(message)
})

describe('an address beyond loopback', () => {
  const beyond = [
    ...['0.0.0.0', '::', '[::]', '10.0.0.1', '::ffff:127.0.0.1', 'fe80::1', '128.0.0.1', '127.example', '127.1'],
    ...['127.0.0.1.example', 'localhost.example', 'name', '0', ' 127.0.0.1', '[::1', '::1]', 'x[::1]'],
  ]

  test.each(beyond)('requires a token, and then accepts any Host, or those named: %j', (host) => {
    expect(messageOf(['--host', host])).toMatch(/^Listening on .+ lets the network in: set a token .+ 127\.0\.0\.1\.$/)
    expect(messageOf([], { PSYS_KILL_HOST: host })).toContain('token')
    expect(read(['--host', host], withToken)).toMatchObject({ hosts: undefined, tokens: { '': TOKEN }, isOpen: false })
    expect(read(['--host', host, '--allow-host', 'a.example'], withToken).hosts).toEqual(['a.example'])
  })
})

test.each([
  ['127.0.0.1', '127.0.0.1', '127.0.0.1'],
  ['127.255.255.254', '127.255.255.254', '127.255.255.254'],
  ['localhost', 'localhost', 'localhost'],
  ['::1', '::1', '[::1]'],
  ['[::1]', '::1', '[::1]'],
])('%s is loopback: no token, and only its own names and those added', (given, host, name) => {
  const own = ['localhost', '127.0.0.1', '[::1]', name]
  expect(read(['--host', given])).toMatchObject({ host, hosts: own })
  const { hosts } = read(['--host', given, '--allow-host', 'a.example , [fe80::1]', '--allow-host', 'under_score'])
  expect(hosts).toEqual([...own, 'a.example', '[fe80::1]', 'under_score'])
})

describe('a socket', () => {
  test('requires no token, and accepts any Host or those named', () => {
    expect(read(['--socket', '/run/s'])).toMatchObject({ socket: '/run/s', hosts: undefined })
    expect(read(['--socket', '/run/s', '--allow-host', 'a.example']).hosts).toEqual(['a.example'])
  })

  test.each(['38080', '0x9470', '0', '99999', '.5', '1e3', ' 80', '-1', 'name', '127.0.0.1:80', '@abstract'])(
    'is a path, whatever it looks like: %j',
    (path) => {
      expect(read([`--socket=${path}`]).socket).toBe(`./${path}`)
      expect(read([], { PSYS_KILL_SOCKET: path }).socket).toBe(`./${path}`)
    },
  )

  test.each(['/run/s', './80', '../80', 'folder/80', '\\\\.\\pipe\\name', '\\\\?\\pipe\\name'])(
    'is left as it is if it can be nothing but a path: %s',
    (path) => {
      expect(read(['--socket', path]).socket).toBe(path)
    },
  )

  test.each<[args: string[], env: Env]>([
    [['--socket', '/run/s', '--host', '127.0.0.1'], {}],
    [['--socket', '/run/s', '--port', '0'], {}],
    [['--host', '127.0.0.1'], { PSYS_KILL_SOCKET: '/run/s' }],
    [['--port', '0'], { PSYS_KILL_SOCKET: '/run/s' }],
    [[], { PSYS_KILL_SOCKET: '/run/s', PSYS_KILL_HOST: '127.0.0.1' }],
  ])('contradicts an address: %j %j', (args, env) => {
    expect(messageOf(args, env)).toMatch(/^A socket .+ has no host and no port; keep one of them\.$/)
  })

  test.each<[args: string[], env: Env]>([
    [[], { PSYS_KILL_SOCKET: '/run/s', PORT: '8080' }],
    [['--socket', '/run/s'], { PORT: '8080' }],
    [['--socket', '/run/s'], { PSYS_KILL_HOST: '0.0.0.0' }],
    [['--socket', '/run/s'], { PSYS_KILL_SOCKET: '/run/other' }],
  ])('wins: %j %j', (args, env) => {
    expect(read(args, env)).toMatchObject({ socket: '/run/s', hosts: undefined })
  })
})

describe('TLS', () => {
  test.each([['--tls-cert'], ['--tls-key'], ['--tls-client-ca']])('needs more than %s', (option) => {
    expect(messageOf([option, 'a'])).toBe('TLS needs both --tls-cert and --tls-key.')
  })

  test('with a client CA needs no token beyond loopback; it is not for sockets', () => {
    const tls = ['--tls-cert', 'a', '--tls-key', 'b']
    expect(messageOf([...tls, '--host', '0.0.0.0'])).toContain('lets the network in')
    const withCa = read([...tls, '--tls-client-ca', 'c', '--host', '0.0.0.0'])
    expect(withCa).toMatchObject({ isOpen: false, tls: { cert: 'a', key: 'b', clientCa: 'c' } })
    expect(messageOf([...tls, '--socket', '/run/s'])).toMatch(/^A socket .+ has no TLS; keep one of them\.$/)
  })
})

describe('LISTEN_FDS', () => {
  const mine = { LISTEN_FDS: '1', LISTEN_PID: String(process.pid) }
  const theirs = { LISTEN_FDS: '1', LISTEN_PID: String(process.ppid) }

  test('is obeyed, whatever the platform says in PORT', () => {
    expect(read([], { ...mine, PORT: '8080' }).fd).toBe(3)
    expect(read([], { LISTEN_PID: mine.LISTEN_PID }).fd).toBeUndefined()
  })

  test.each<[args: string[], env: Env, message: string]>([
    [['--host', '127.0.0.1'], mine, 'leave out --host, --port and --socket.'],
    [['--port', '0'], mine, 'leave out --host, --port and --socket.'],
    [['--socket', '/run/s'], mine, 'leave out --host, --port and --socket.'],
    [[], { ...mine, PSYS_KILL_HOST: '127.0.0.1' }, 'leave out --host, --port and --socket.'],
    [[], { ...mine, PSYS_KILL_SOCKET: '/run/s' }, 'leave out --host, --port and --socket.'],
    [[], { ...mine, LISTEN_FDS: '2' }, 'systemd must hand over one socket, not 2'],
    [[], { ...mine, LISTEN_FDS: '0' }, 'systemd must hand over one socket, not 0'],
    [[], { ...mine, LISTEN_FDS: '1x' }, 'systemd must hand over one socket, not 1x'],
    [[], theirs, `hands a socket to process ${process.ppid}`],
    [[], { LISTEN_FDS: '1' }, 'hands a socket to process undefined'],
  ])('contradicts %j %j', (args, env, message) => {
    expect(messageOf(args, env)).toContain(message)
  })

  test('for another process is ignored if a setting says where to listen', () => {
    expect(read(['--port', '0'], theirs).fd).toBeUndefined()
  })
})

describe('variables', () => {
  test.each(['PSYS_KILL_', 'PSYS_KILL_TOKE', 'PSYS_KILL_TOKENS', 'PSYS_KILL_TOKEN_FILES', 'PSYS_KILL_SERVICE'])(
    '%s is unknown',
    (name) => {
      for (const value of [TOKEN, '3999', ''])
        expect(messageOf([], { [name]: value })).toBe(`Unknown variable ${name}. See --help.`)
    },
  )

  test.each(['PATH', 'HOST', 'TOKEN', 'PORTS', 'PSYS_URL', 'OTHER_PSYS_KILL_TOKEN', 'psys_kill_token'])(
    '%s is none of ours',
    (name) => {
      expect(read([], { [name]: 'x' })).toEqual(read())
    },
  )

  /** As the kubelet does for a Service and one of its ports (pkg/kubelet/envvars). */
  const ofKubernetes = (service: string, name: string, port: number, protocol: string): Env => {
    const upper = (text: string) => text.toUpperCase().replaceAll('-', '_')
    const url = `${protocol.toLowerCase()}://10.0.0.11:${port}`
    const one = `PORT_${port}_${protocol}`
    const names = {
      SERVICE_HOST: '10.0.0.11',
      SERVICE_PORT: `${port}`,
      [`SERVICE_PORT_${upper(name)}`]: `${port}`,
      PORT: url,
      [one]: url,
      [`${one}_PROTO`]: protocol.toLowerCase(),
      [`${one}_PORT`]: `${port}`,
      [`${one}_ADDR`]: '10.0.0.11',
    }
    return Object.fromEntries(Object.entries(names).map(([key, value]) => [`${upper(service)}_${key}`, value]))
  }

  test('of Kubernetes are passed over for every Service whose name begins like ours', () => {
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/)
    const service = fc.oneof(
      fc.constant('psys-kill'),
      label.map((more) => `psys-kill-${more}`),
    )
    const port = fc.integer({ min: 1, max: 65_535 })
    fc.assert(
      fc.property(service, label, port, fc.constantFrom('TCP', 'UDP', 'SCTP'), (...given) => {
        expect(read([], ofKubernetes(...given))).toEqual(read())
      }),
    )
  })
})
