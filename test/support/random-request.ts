import { KILL, MAX_BODY, type Place, type WireRequest } from './oracle-model.ts'
import type { Random } from './random.ts'
import { randomBody } from './random-body.ts'

export interface Names {
  /** The process that most requests name. */
  pid: number
  /** Others, whose answer is no signal. */
  others: readonly number[]
}

type Headers = readonly (readonly [string, string])[]

/** As it may stand in the tables below: names and values, one header a line. */
const headersOf = (lines: readonly string[]): Headers =>
  lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)])

const WRONG_HOSTS =
  `evil.example|localhost.evil.example|sub.localhost|localhost.|127.0.0.2|127.1|2130706433|0.0.0.0||:80
user@localhost|evil.example@127.0.0.1|a b|localhost:99999|localhost:x|localhost:|256.256.256.256|localhost/x
localhost\\x|localhost?|::1|xn--a|[::1|%6cocalhost|evil.example, localhost`.split(/[|\n]/)

const randomHosts = (random: Random, isWrong: boolean, { hosts }: Place) => {
  const name = random.pick(...(hosts === 'any' ? ['localhost', 'any.example', '10.0.0.1', '[fe80::1]'] : hosts))
  const host = name + random.pick('', '', ':80', ':3000', ':65535')
  if (!isWrong) return [random.chance(0.9) ? host : host.toUpperCase()]
  return random.chance(0.7) ? [random.pick(...WRONG_HOSTS)] : random.pick([], [host, host], [host, 'evil.example'])
}

const OTHER_PATHS =
  `/|/nope|/api/connections/kill/|//api/connections/kill|/API/connections/kill|/api/connections/kill%20
/api/connections/kill;x|/api/connections/kill%|/api\\connections\\kill|/%ff|*|/healthz|/healthz?x|/healthz/
/healthz/api/connections/kill|//localhost/api/connections/kill|/api%2fconnections/kill|/api/connections|/healthz
ftp://localhost/api/connections/kill|http://evil.example/api/connections/kill|http://localhost|http://localhost/healthz
http://user@localhost/api/connections/kill|http://evil.example/nope|http://localhost?/api/connections/kill`.split(
    /[|\n]/,
  )
const SAME_PATHS = `/api/connections/kill?pid=1|/api/connections/kill?%|/api/connections/%6bill|/api/./connections/kill
/x/../api/connections/kill|/api/%2e/connections/kill|/%61pi/connections/kill`.split(/[|\n]/)

const randomTarget = (random: Random, isWrong: boolean, { hosts }: Place) => {
  const name = random.pick(...(hosts === 'any' ? ['any.example:80', 'localhost'] : hosts))
  if (isWrong) return random.pick(...OTHER_PATHS)
  return random.chance(0.7) ? KILL : random.pick(...SAME_PATHS, `http://${name}${KILL}`, `https://${name}${KILL}?x`)
}

const randomOrigin = (random: Random, isWrong: boolean, host: string, { origins }: Place): Headers => {
  const known = random.pick(`http://${host.toLowerCase().replace(/:80$/, '')}`, ...origins)
  const site = (value: string): [string, string] => ['Sec-Fetch-Site', value]
  const origin = (value: string): [string, string] => ['Origin', value]
  if (!isWrong) {
    const fitting = site(origins.includes(known) ? 'cross-site' : 'same-origin')
    return random.pick<Headers>([], [], [], [site('none')], [origin(known)], [origin(known), fitting])
  }
  const strange = `http://evil.example|null||https://localhost|http://sub.localhost|${known}/|${known}:1|${known}.x|x ${known}`
  const bad = origin(random.pick(...strange.split('|'), known.toUpperCase()))
  const two = [origin(known), random.pick(bad, origin(known))]
  return random.pick<Headers>([bad], [bad], two, [site('cross-site')], [site('cross-site'), origin(known)])
}

const randomPreflight = (random: Random, host: string, { origins }: Place) =>
  headersOf([`Origin:${random.pick(...origins, `http://${host}`)}`, 'Access-Control-Request-Method:POST'])

const randomToken = (random: Random, isWrong: boolean, { token = 'nobody-asks-for-this-one' }: Place): Headers => {
  const of = (value: string): [string, string] => ['Authorization', value]
  const right = of(`${random.pick('Bearer', 'bearer', 'BEARER')} ${random.pick('', ' ')}${token}`)
  if (!isWrong) return [right]
  const strange = `${token}|Basic ${token}|Bearer ${token}x|Bearer ${token.slice(1)}|Bearer||Bearer ${token} x|Bearer x`
  const bad = of(random.pick(...strange.split('|')))
  return random.pick<Headers>([], [bad], [bad], [right, right], [right, bad], [bad, right])
}

const randomType = (random: Random, isWrong: boolean): Headers => {
  const of = (values: string): [string, string] => ['Content-Type', random.pick(...values.split('|'))]
  const right = of(
    'application/json|application/json|APPLICATION/json|application/json; charset=utf-8|application/json ;x',
  )
  if (!isWrong) return [right]
  const bad = of('text/plain||application/jsonx|text/json|application/x-www-form-urlencoded|x; a=application/json|a')
  return random.pick<Headers>([], [bad], [bad], [right, bad], [bad, right])
}

const NOISE: readonly Headers[] = [
  ...['Expect:100-continue', 'Expect:foo', 'X-Request-Id:mine', 'Content-Encoding:gzip', 'Upgrade:websocket'],
  ...['X:\xe9\t"', `X:${'a'.repeat(9000)}`, 'X-HTTP-Method-Override:GET', 'Cookie:a'],
  ...['X-Forwarded-Host:evil.example', 'VIA:1.1 a', 'Forwarded:for=a', 'x-real-ip:1', 'X-Forwarded:a', 'X-Via:a'],
].map((line) => headersOf([line]))
const MANY = headersOf(Array.from({ length: 2100 }, () => 'a:'))
const BROKEN = headersOf(['X Y:a', 'X\xe9:a', 'X:a\x01', 'Content-Length:0', 'Transfer-Encoding:chunked', 'X:a\rb'])
const METHODS = 'GET HEAD PUT DELETE PATCH OPTIONS TRACE PROPFIND M-SEARCH CONNECT'.split(' ')

/** A request that is in order but for some things, of any layer. */
export const randomRequest = (random: Random, place: Place, { pid, others }: Names): WireRequest => {
  const wrongness = random.pick(0, 0.03, 0.1, 0.25)
  const isWrong = () => random.chance(wrongness)
  const hosts = randomHosts(random, isWrong(), place)
  const host = hosts[0] ?? ''
  const isBroken = random.chance(wrongness / 10)
  const isPreflight = random.chance(0.06)
  const named = random.pick(...(random.chance(0.15) ? others : [pid]))
  const body = isWrong() ? random.pick('', 'pid=1') : randomBody(random, isWrong, named)
  const version = random.chance(0.02) ? 'HTTP/1.0' : 'HTTP/1.1'
  const chunk =
    version === 'HTTP/1.1' && body !== '' && random.chance(0.2)
      ? 1 + random.below(random.pick(200, MAX_BODY))
      : undefined
  const framing: Headers = chunk ? [['Transfer-Encoding', 'chunked']] : [['Content-Length', String(body.length)]]
  const headers = [
    ...hosts.map((value) => ['Host', value] as const),
    ...(isPreflight ? randomPreflight(random, host, place) : randomOrigin(random, isWrong(), host, place)),
    ...randomToken(random, isWrong(), place),
    ...randomType(random, isWrong()),
    ...(body === '' && !isBroken && random.chance(0.5) ? [] : framing),
    ...(isBroken ? [random.pick(...BROKEN)] : []),
    ...random.pick(...[[], [], [], [], [], [], [], []], ...NOISE, ...(isWrong() ? [MANY] : [])),
  ]
  const method = isPreflight ? 'OPTIONS' : isWrong() ? random.pick(...METHODS) : 'POST'
  return {
    method: isBroken ? random.pick('FOO', 'post', 'P\xd6ST', method) : method,
    target: method === 'CONNECT' ? 'localhost:80' : randomTarget(random, isWrong(), place),
    version: isBroken ? random.pick('HTTP/1.1', 'HTTP/1.2', 'HTTP/3', 'http/1.1', '') : version,
    headers: random.shuffle(headers),
    body,
    ...(chunk ? { chunk } : {}),
  }
}
