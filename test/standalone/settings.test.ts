import { describe, expect, test } from 'vitest'
import { hostsAt } from '../../src/standalone/listen.ts'
import { HELP, optionOf, SETTINGS, variableOf } from '../../src/standalone/options.ts'
import { type Env, messageOf, read, TOKEN } from '../support/settings.ts'

type Name = keyof typeof SETTINGS
const withToken = { PSYS_KILL_TOKEN: TOKEN }
const LOOPBACK = ['localhost', '127.0.0.1', '[::1]']

test('without settings it listens on loopback for loopback names, and requires nothing', () => {
  expect(read()).toEqual({ host: '127.0.0.1', port: 3000, isOpen: true, allowProxy: false, quiet: false })
})

describe('each setting', () => {
  const origins = ['https://a.example', 'http://b.example:81', 'http://[::1]:5173']
  // The address of a socket has 108 bytes with the final NUL (unix(7)), on macOS 104.
  const longest = `/${'x'.repeat(102)}`
  test.each<readonly [name: Name, given: string, value: unknown]>([
    ['host', '127.0.0.9', '127.0.0.9'],
    ['port', '0', 0],
    ['port', '65535', 65_535],
    ['port', ' 80\t', 80],
    ['socket', longest, longest],
    // A bare number would be a port.
    ...['38080', '.5', ' 80', 'name', '127.0.0.1:80', '@abstract'].map(
      (path) => ['socket', path, `./${path}`] as const,
    ),
    ...['/run/s', './80', '../80', 'folder/80', '\\\\.\\pipe\\name'].map((path) => ['socket', path, path] as const),
    ['allowOrigin', origins.join(','), origins],
    ['protect', '2147483647,sshd, 0042 ,x11,(sd-pam),Web é', [2 ** 31 - 1, 'sshd', 42, 'x11', '(sd-pam)', 'Web é']],
    ['onlyUid', '0,1000 , 4294967294', [0, 1000, 4_294_967_294]],
  ])('%s takes %j as an option and as a variable; the option wins', (name, given, value) => {
    const [option, variable] = [`--${optionOf(name)}`, variableOf(name)]
    const ways = [read([option, given]), read([`${option}=${given}`]), read([], { [variable]: given })]
    for (const settings of [...ways, read([option, given], { [variable]: 'ignored' })])
      expect(Reflect.get(settings, name)).toEqual(value)
  })

  test.each(['quiet', 'allowProxy'] as const)('%s is a flag: no value as an option, 1 as a variable', (name) => {
    const [option, variable] = [`--${optionOf(name)}`, variableOf(name)]
    expect(read([option, option], { [variable]: 'ignored' })[name]).toBe(true)
    expect(read([], { [variable]: '1' })[name]).toBe(true)
  })

  test('is in the help with its variable, within 80 columns', () => {
    for (const name of Object.keys(SETTINGS))
      expect(HELP).toMatch(new RegExp(`^  --${optionOf(name)} +${variableOf(name)} +\\S.*\\n {19}\\S`, 'm'))
    expect(HELP).toMatch(/^ {19}PSYS_KILL_TOKEN +\S.*\n {19}\S/m)
    for (const line of HELP.split('\n')) expect(line.length).toBeLessThanOrEqual(80)
  })
})

describe('a wrong value', () => {
  const path = ['', ' ', '\t\n', '\0', '/run/a\0b', '\0abstract']
  const wrong: Partial<Record<Name, string[]>> = {
    ...{ host: path, tokenFile: path, tlsCert: path, tlsKey: path, tlsClientCa: path },
    port: ['', ' ', '65536', '-1', '80.5', '0x50', '1e3', '80a', '٨٠', 'NaN', '80\0'],
    socket: [...path, `/${'x'.repeat(103)}`, `/${'ä'.repeat(52)}`],
    allowHost: [
      ...['', ',', 'a,', 'A.example', 'a.example:80', 'http://a.example', '::1', 'a b', '*', 'a/b', 'a\0'],
      ...['[::1', '::1]', 'x[::1]', '[::1]x', '[]', '[a.example]'],
    ],
    allowOrigin: [
      ...['', '*', 'null', 'a.example', 'https://a.example/', 'https://A.example', 'https://'],
      ...['http://a.de:80', 'ftp://a.example', 'xhttp://a.de', 'file:///', 'https://a.de\0'],
    ],
    protect: ['', '0', '-5', '5,', '5.5', '2147483648', '5\0', 'init\0', ' ', ' sshd', 'sshd ', '٥'],
    onlyUid: ['', '-1', '1000,', '1.5', 'www-data', '0x0', '4294967295', '*', '1000\0'],
    quiet: ['', '0', 'true', '11', ' 1'],
  }
  const each = Object.entries(wrong).flatMap(([name, values]) => values.map((value) => [name, value] as const))

  test.each(each)('of %s is refused with both its names: %j', (name, value) => {
    const [option, variable] = [`--${optionOf(name)}`, variableOf(name)]
    const message = messageOf([], { [variable]: value })
    expect(message).toMatch(new RegExp(`^${option} \\(${variable}\\) takes .+`))
    if (name !== 'quiet') expect(messageOf([`${option}=${value}`])).toBe(message)
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
})

const mine = { LISTEN_FDS: '1', LISTEN_PID: 'own' }
const theirs = { LISTEN_FDS: '1', LISTEN_PID: '1' }
const SOCKET = { PSYS_KILL_SOCKET: '/run/s' }
const TLS = ['--tls-cert', 'a', '--tls-key', 'b']
const POSITIONAL = 'Unexpected argument: write --NAME VALUE; --quiet and --allow-proxy take no value. See --help.'
const NO_ADDRESS = 'Set --socket, or --host and --port, not both (or their variables).'
const HANDED = 'systemd must hand this process exactly one socket'

test.each<[args: string[], env: Env, message: string]>([
  [['--unknown'], {}, "Unknown option '--unknown'. See --help."],
  [[`--${'x'.repeat(16)}`], {}, 'Unknown option. See --help.'],
  [[`--x'${TOKEN}`], {}, 'Unknown option. See --help.'],
  [['-x'], {}, "Unknown option '-x'. See --help."],
  [[TOKEN], {}, POSITIONAL],
  ...[`--host=${TOKEN}`, `-${TOKEN}`, `a'${TOKEN}`, `a. b'${TOKEN}\nc`].map((last): [string[], Env, string] => {
    return [['--', last], {}, POSITIONAL]
  }),
  [['--port'], {}, "Option '--port <value>' argument missing. See --help."],
  [['--port', '-1'], {}, "'--port' needs a value; write --NAME=VALUE if the value begins with a dash. See --help."],
  [['--quiet=1'], {}, "Option '--quiet' does not take an argument. See --help."],
  [['--protect', '5', '--protect', 'x,-5'], {}, '--protect (PSYS_KILL_PROTECT) takes PIDs and names of processes.'],
  [['--socket', '/run/s', '--port', '0'], {}, NO_ADDRESS],
  [['--host', '127.0.0.1'], SOCKET, NO_ADDRESS],
  [['--port', '0'], SOCKET, NO_ADDRESS],
  [[], { ...SOCKET, PSYS_KILL_HOST: '127.0.0.1' }, NO_ADDRESS],
  [['--tls-cert', 'a'], {}, 'TLS needs both --tls-cert and --tls-key.'],
  [['--tls-client-ca', 'a'], {}, 'TLS needs both --tls-cert and --tls-key.'],
  [[...TLS, '--socket', '/run/s'], {}, 'Set --socket or --tls-…, not both: a socket has no TLS.'],
  [[...TLS, '--host', '0.0.0.0'], {}, 'To listen beyond loopback, set '],
  [['--port', '0'], mine, HANDED],
  [[], { ...mine, PSYS_KILL_HOST: '127.0.0.1' }, HANDED],
  [[], { ...mine, ...SOCKET }, HANDED],
  ...['0', '2', '1x'].map((count): [string[], Env, string] => [[], { ...mine, LISTEN_FDS: count }, HANDED]),
  [[], theirs, HANDED],
  [[], { LISTEN_FDS: '1' }, HANDED],
  ...['', 'TOKE', 'TOKENS', 'TOKEN_FILES', 'SERVICE', 'PORT', 'PORTS', 'WEB_PORT_80_HTTP'].map(
    (name): [string[], Env, string] => {
      return [[], { [`PSYS_KILL_${name}`]: name && TOKEN }, `Unknown variable PSYS_KILL_${name}. See --help.`]
    },
  ),
])('%j with %j is an error that says what to do', (args, env, message) => {
  expect(messageOf(args, env)).toContain(message)
})

test.each<[args: string[], env: Env, settings: object]>([
  [[], { ...SOCKET, PORT: '8080' }, { socket: '/run/s' }],
  [['--socket', '/run/s'], { PSYS_KILL_HOST: '0.0.0.0', PORT: '1' }, { socket: '/run/s' }],
  [['--socket', '/run/s'], { PSYS_KILL_SOCKET: '/run/other' }, { socket: '/run/s' }],
  [['--socket', '/run/s', '--allow-host', 'a.example'], {}, { allowHost: ['a.example'] }],
  [[], { ...mine, PORT: '8080' }, { fd: 3 }],
  [[], { LISTEN_PID: mine.LISTEN_PID }, { fd: undefined }],
  [['--port', '0'], theirs, { fd: undefined, port: 0 }],
  [[...TLS, '--tls-client-ca', 'c', '--host', '0.0.0.0'], {}, { tls: { cert: 'a', key: 'b', clientCa: 'c' } }],
  [[...TLS, '--tls-client-ca', 'c'], {}, { isOpen: false }],
])('%j with %j is right', (args, env, settings) => {
  expect(read(args, env)).toMatchObject(settings)
})

test.each([
  ...['PATH', 'HOST', 'TOKEN', 'PORTS', 'PSYS_URL', 'OTHER_PSYS_KILL_TOKEN', 'psys_kill_token'],
  // What Kubernetes adds for a Service (pkg/kubelet/envvars).
  ...['SERVICE_HOST', 'SERVICE_PORT', 'SERVICE_PORT_HTTP', 'PORT', 'PORT_3000_TCP', 'PORT_53_UDP', 'PORT_9_SCTP']
    .concat(['PROTO', 'PORT', 'ADDR'].map((end) => `PORT_3000_TCP_${end}`))
    .flatMap((name) => [`PSYS_KILL_${name}`, `PSYS_KILL_TOKEN_${name}`]),
])('the variable %s is passed over', (name) => {
  expect(read([], { [name]: 'tcp://10.0.0.11:3000' })).toEqual(read())
})

test.each([
  ...['0.0.0.0', '::', '[::]', '10.0.0.1', '::ffff:127.0.0.1', 'fe80::1', '128.0.0.1', '127.example', '127.1'],
  ...['127.0.0.1.example', 'localhost.example', 'name', '0', ' 127.0.0.1', '[::1', '::1]', 'x[::1]'],
])('%j is beyond loopback: it requires a token, and then accepts any Host, or those named', (host) => {
  expect(messageOf(['--host', host])).toMatch(/^To listen beyond loopback, set --token-file, .+\.$/)
  expect(messageOf([], { PSYS_KILL_HOST: host })).toContain('beyond loopback')
  const settings = read(['--host', host, '--allow-host', 'a.example'], withToken)
  expect(settings).toMatchObject({ tokens: { '': TOKEN }, isOpen: false })
  expect(hostsAt(settings.host, settings.allowHost)).toEqual(['a.example'])
  expect(hostsAt(settings.host)).toBeUndefined()
})

test.each([
  ['127.0.0.1', '127.0.0.1', '127.0.0.1'],
  ['127.255.255.254', '127.255.255.254', '127.255.255.254'],
  ['localhost', 'localhost', 'localhost'],
  ['::1', '::1', '[::1]'],
  ['[::1]', '::1', '[::1]'],
])('%s is loopback: no token, and only its own names and those added', (given, host, name) => {
  const allow = ['--allow-host', 'a.example , [fe80::1]', '--allow-host', 'b_c']
  const { allowHost, ...settings } = read(['--host', given, ...allow])
  expect(settings).toMatchObject({ host, isOpen: true })
  expect(hostsAt(host)).toEqual([...LOOPBACK, name])
  expect(hostsAt(host, allowHost)).toEqual([...LOOPBACK, name, 'a.example', '[fe80::1]', 'b_c'])
})
