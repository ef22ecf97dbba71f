import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Env, KNOWN, messageOf, misspelt, read, serviceValue, someValue, TOKEN } from '../support/settings.ts'

describe('a variable that there is not', () => {
  test.each([
    ['PSYS_KILL_TOKENFILE', 'PSYS_KILL_TOKEN_FILE'],
    ['PSYS_KILL_TOKEN_FILES', 'PSYS_KILL_TOKEN_FILE'],
    ['PSYS_KILL_ALLOW_HOSTS', 'PSYS_KILL_ALLOW_HOST'],
    ['psys_kill_token', 'PSYS_KILL_TOKEN'],
    ['Psys_Kill_Quiet', 'PSYS_KILL_QUIET'],
    ['PSYSKILL_TOKEN', 'PSYS_KILL_TOKEN'],
    ['PSYS_KIL_TOKEN', 'PSYS_KILL_TOKEN'],
    ['PSYS-KILL-TOKEN', 'PSYS_KILL_TOKEN'],
    ['PSYS_KLIL_TOKEN', 'PSYS_KILL_TOKEN'],
    ['PSSY_KILL_TOKEN', 'PSYS_KILL_TOKEN'],
    ['PSYS_KILL_TOKNE', 'PSYS_KILL_TOKEN'],
    ['PSYS_KILL_PORT', 'PORT'],
    ['PSYS_KILL_PORTS', 'PORT'],
  ])('%s is an error that names %s', (name, meant) => {
    for (const value of [TOKEN, '3999', '', '127.0.0.1'])
      expect(messageOf([], { [name]: value })).toBe(`Unknown variable ${name}; it is spelt ${meant}. See --help.`)
  })

  test.each(['PSYS_KILL_', 'PSYS_KILL_UNKNOWN', 'psys_kill_x', 'PSYS_KILL_VERSION', 'PSYS_KILL_SERVICE'])(
    '%s is an error that points to the help',
    (name) => {
      expect(messageOf(['--port', '0'], { [name]: TOKEN })).toBe(`Unknown variable ${name}. See --help.`)
    },
  )

  test.each(['PATH', 'HOST', 'SOCKET', 'TOKEN', 'QUIET', 'PORTS', 'SPORT', 'PSYS_URL', 'OTHER_PSYS_KILL_TOKEN'])(
    '%s is none of our business',
    (name) => {
      expect(read([], { [name]: 'x' })).toEqual(read())
    },
  )
})

describe('what Kubernetes adds', () => {
  /** As the kubelet does (pkg/kubelet/envvars): for a Service, the address that it has and its ports. */
  const variablesOf = (
    service: string,
    ip: string,
    ports: { name?: string; port: number; protocol: string }[],
  ): Env => {
    const upper = (name: string) => name.toUpperCase().replaceAll('-', '_')
    const prefix = upper(service)
    const url = ({ port, protocol }: (typeof ports)[number]) =>
      `${protocol.toLowerCase()}://${ip.includes(':') ? `[${ip}]` : ip}:${port}`
    return Object.fromEntries([
      [`${prefix}_SERVICE_HOST`, ip],
      ...ports.slice(0, 1).flatMap((each) => [
        [`${prefix}_SERVICE_PORT`, `${each.port}`],
        [`${prefix}_PORT`, url(each)],
      ]),
      ...ports.flatMap((each) => {
        const { name, port, protocol } = each
        const one = `${prefix}_PORT_${port}_${protocol}`
        return [
          ...(name === undefined ? [] : [[`${prefix}_SERVICE_PORT_${upper(name)}`, `${port}`]]),
          [one, url(each)],
          [`${one}_PROTO`, protocol.toLowerCase()],
          [`${one}_PORT`, `${port}`],
          [`${one}_ADDR`, ip],
        ]
      }),
    ])
  }

  test('has the names that its documentation tells', () => {
    expect(variablesOf('psys-kill', '10.0.0.11', [{ name: 'http', port: 3000, protocol: 'TCP' }])).toEqual({
      PSYS_KILL_SERVICE_HOST: '10.0.0.11',
      PSYS_KILL_SERVICE_PORT: '3000',
      PSYS_KILL_SERVICE_PORT_HTTP: '3000',
      PSYS_KILL_PORT: 'tcp://10.0.0.11:3000',
      PSYS_KILL_PORT_3000_TCP: 'tcp://10.0.0.11:3000',
      PSYS_KILL_PORT_3000_TCP_PROTO: 'tcp',
      PSYS_KILL_PORT_3000_TCP_PORT: '3000',
      PSYS_KILL_PORT_3000_TCP_ADDR: '10.0.0.11',
    })
  })

  test('is passed over for every Service whose name begins like ours', () => {
    const name = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?$/)
    const port = fc.record(
      { name, port: fc.integer({ min: 1, max: 65_535 }), protocol: fc.constantFrom('TCP', 'UDP', 'SCTP') },
      { requiredKeys: ['port', 'protocol'] },
    )
    const ip = fc.oneof(
      fc.ipV4(),
      fc.ipV6().filter((address) => !address.includes('.')),
    )
    const service = fc.oneof(
      fc.constant('psys-kill'),
      fc.constant('psyskill'),
      name.map((more) => `psys-kill-${more}`),
    )
    fc.assert(
      fc.property(service, ip, fc.array(port, { minLength: 1, maxLength: 3 }), (each, address, ports) => {
        expect(read([], variablesOf(each, address.toLowerCase(), ports))).toEqual(read())
      }),
    )
  })

  test.each([
    [
      'PSYS_KILL_PORT',
      ['3999', '', 'tcp://', 'tcp://10.0.0.1', 'http://10.0.0.1:80', 'tcp://a:80', ' tcp://10.0.0.1:80'],
    ],
    ['PSYS_KILL_WEB_PORT', ['3999', 'tcp://10.0.0.1:80/', 'TCP://10.0.0.1:80']],
    ['PSYS_KILL_SERVICE_HOST', ['', 'localhost', 'cafe.de', '10.0.0.1:80', '10.0.0']],
    ['PSYS_KILL_SERVICE_PORT', ['', 'http', '80a', '-1', '80 ']],
    ['PSYS_KILL_SERVICE_PORT_HTTP', ['x']],
    ['PSYS_KILL_PORT_3000_TCP', ['3000', '10.0.0.1']],
    ['PSYS_KILL_PORT_3000_TCP_PROTO', ['TCP', 'http', '']],
    ['PSYS_KILL_PORT_3000_TCP_PORT', ['tcp', '']],
    ['PSYS_KILL_PORT_3000_TCP_ADDR', ['3000', 'localhost']],
    ['PSYS_KILL_PORT_3000_HTTP', ['tcp://10.0.0.1:80']],
    ['psys_kill_service_host', ['10.0.0.1']],
    ['PSYS_KILL_web_SERVICE_HOST', ['10.0.0.1']],
  ])('is told by the form of the value: %s is not passed over for %j', (name, values) => {
    for (const value of values) expect(messageOf([], { [name]: value })).toContain(`Unknown variable ${name}`)
  })
})

describe('whatever the misspelling', () => {
  const words = 'TOKEN FILE HOST PORT SERVICE TCP ADDR PROTO 3000 ALLOW KILL PSYS'.split(' ')
  const name = fc
    .oneof(
      fc.array(fc.constantFrom(...words), { minLength: 1, maxLength: 5 }).map((each) => each.join('_')),
      fc.stringMatching(/^[A-Za-z0-9_]{0,12}$/),
    )
    .map((rest) => `PSYS_KILL_${rest}`)
    .filter((each) => !KNOWN.includes(each))
  const ofServices = /(_SERVICE_HOST|_SERVICE_PORT(_.+)?|_PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$/

  test('a variable of our prefix that is neither known nor in the form of Kubernetes is an error', () => {
    fc.assert(fc.property(name, someValue, (each, value) => void messageOf([], { [each]: value })))
    const elsewhere = name.filter((each) => !ofServices.test(each))
    fc.assert(fc.property(elsewhere, serviceValue, (each, value) => void messageOf([], { [each]: value })))
  })

  test('a variable that is one character off is an error', () => {
    const variables = KNOWN.filter((variable) => variable !== 'PORT')
    fc.assert(
      fc.property(misspelt(variables), fc.oneof(someValue, serviceValue), (variable, value) => {
        expect(messageOf([], { [variable]: value })).toContain('; it is spelt PSYS_KILL_')
      }),
      { numRuns: 500 },
    )
  })
})
