import { METHODS } from 'node:http'
import { hostOf, jsonOf, pidOf, targetOf, timeOf, waitOf } from './oracle-forms.ts'
import { type Expected, type ExpectedRecord, KILL, MAX_BODY, type Place, type WireRequest } from './oracle-model.ts'

const answer = (status: number, value: unknown, record: Partial<ExpectedRecord>, headers = {}): Expected => ({
  status,
  body: JSON.stringify(value),
  headers: { 'content-type': 'application/json', ...headers },
  records: [{ outcome: undefined, hasReason: false, ...record, status }],
})

const refuse = (status: number, error: string, headers = {}, record: Partial<ExpectedRecord> = {}) =>
  answer(status, { error }, { outcome: 'refused', hasReason: true, ...record }, headers)

const valuesOf = ({ headers }: WireRequest, name: string) =>
  headers.filter(([key]) => key.toLowerCase() === name).map(([, value]) => value.trim())

const fieldsOf = ({ body }: WireRequest) => {
  const value = jsonOf(body)
  return new Map<string, unknown>(typeof value === 'object' && value ? Object.entries(value) : [])
}

type Rule = (request: WireRequest, place: Place) => Expected | undefined

/** In the order of the checks; each has an answer, or leaves it to the next. */
const RULES: Readonly<Record<string, Rule>> = {
  'what does not parse as HTTP': ({ method, version, headers }) => {
    const framings = headers.filter(([name]) => /^(content-length|transfer-encoding)$/i.test(name))
    const isName = (text: string) => /^[!#$%&'*+.^_`|~\w-]+$/.test(text)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what it looks for
    const isValue = (text: string) => !/[\0-\x08\n-\x1f\x7f]/.test(text)
    const isHttp = headers.every(([name, value]) => isName(name) && isValue(value)) && framings.length < 2
    if (isHttp && METHODS.includes(method) && /^HTTP\/1\.[01]$/.test(version)) return undefined
    return { status: 400, body: '', headers: {}, records: [] }
  },
  'a tunnel': ({ method }) => (method === 'CONNECT' ? refuse(405, 'Method Not Allowed', { allow: 'POST' }) : undefined),
  Host: (request, { hosts }) => {
    const { authority = [] } = targetOf(request.target) ?? {}
    const named = valuesOf(request, 'host')
    const all = [...named, authority].flat().map(hostOf)
    const isAllowed = all.every((host) => host && (hosts === 'any' || hosts.includes(host.name)))
    const isOne = named.length < 2 && (all.length > 0 || hosts === 'any')
    return isAllowed && isOne ? undefined : refuse(403, 'Host not allowed')
  },
  'a proxy, where nothing else asks who is there': ({ headers }, { token }) => {
    const isProxied = headers.some(([name]) => /^(via|forwarded|x-real-ip|x-forwarded-.*)$/i.test(name))
    return token === undefined && isProxied ? refuse(403, 'Proxy not allowed') : undefined
  },
  'web pages, and their preflights': (request, { origins }) => {
    const values = valuesOf(request, 'origin')
    const { scheme = 'http', authority = '' } = targetOf(request.target) ?? {}
    const { name = '', port = '' } = hostOf(valuesOf(request, 'host')[0] ?? authority) ?? {}
    const own = `${scheme}://${name}${port && Number(port) !== (scheme === 'https' ? 443 : 80) ? `:${port}` : ''}`
    const isKnown = origins.includes(values.join())
    const isOwn = values.length === 0 || (name !== '' && values.join() === own)
    const isCrossSite = valuesOf(request, 'sec-fetch-site').includes('cross-site')
    if (!isKnown && (!isOwn || isCrossSite)) return refuse(403, 'Origin not allowed')
    return isKnown && request.method === 'OPTIONS' ? { ...answer(204, '', {}), body: '', headers: {} } : undefined
  },
  'an unusable target': ({ target }) => (targetOf(target) ? undefined : refuse(404, 'Not Found')),
  'another path': ({ method, target }) => {
    const path = targetOf(target)?.path
    if (path === KILL) return undefined
    return path === '/healthz' && /^(GET|HEAD)$/.test(method) ? answer(200, { ok: true }, {}) : refuse(404, 'Not Found')
  },
  'the token': (request, { token }) => {
    const isIt =
      valuesOf(request, 'authorization')
        .join()
        .replace(/^bearer +/i, 'Bearer ') === `Bearer ${token}`
    return token === undefined || isIt ? undefined : refuse(401, 'Unauthorized', { 'www-authenticate': 'Bearer' })
  },
  'the method': ({ method }) => (method === 'POST' ? undefined : refuse(405, 'Method Not Allowed', { allow: 'POST' })),
  'the size': ({ body }) => (body.length > MAX_BODY ? refuse(413, 'Payload Too Large') : undefined),
  'the content type': (request) =>
    // Several values of one header are one list.
    /^application\/json *(;|$)/i.test(valuesOf(request, 'content-type').join(', '))
      ? undefined
      : refuse(400, 'Invalid pid'),
  'the fields': (request) => {
    const fields = fieldsOf(request)
    const pid = pidOf(fields.get('pid'))
    if (pid === undefined) return refuse(400, 'Invalid pid')
    const wrong = (error: string) => refuse(400, error, {}, { pid })
    if (fields.has('startedBefore') && timeOf(fields.get('startedBefore')) === undefined)
      return wrong('Invalid startedBefore')
    if (fields.has('waitMs') && waitOf(fields.get('waitMs')) === undefined) return wrong('Invalid waitMs')
    if (fields.has('dryRun') && typeof fields.get('dryRun') !== 'boolean') return wrong('Invalid dryRun')
    if (fields.has('command') && typeof fields.get('command') !== 'string') return wrong('Invalid command')
    const comment = fields.get('comment') ?? (fields.has('comment') ? undefined : '')
    if (typeof comment !== 'string' || [...comment].length > 200) return wrong('Invalid comment')
    const known = ['pid', 'startedBefore', 'waitMs', 'dryRun', 'command', 'comment']
    return [...fields.keys()].every((name) => known.includes(name)) ? undefined : wrong('Unknown field')
  },
  'the process': (request, { beings, powerless }) => {
    const fields = fieldsOf(request)
    const pid = pidOf(fields.get('pid')) ?? 0
    const being = beings.get(pid)
    const record = { pid, ...(being ? { command: being.command } : {}) }
    const gone = answer(404, { error: 'Process not found' }, { ...record, outcome: 'ESRCH' })
    const denied = answer(403, { error: 'Permission denied' }, { ...record, outcome: 'EPERM' })
    if (!being || being.kind === 'zombie' || being.kind === 'thread') return gone
    if (being.kind === 'never') return denied
    // The processes of a test have just started, and no random time is near.
    if ((timeOf(fields.get('startedBefore')) ?? Number.POSITIVE_INFINITY) < Date.now()) return gone
    // The kernel keeps 15 bytes of a name; those of the test have fewer.
    if (fields.has('command') && fields.get('command') !== being.command) return gone
    if (powerless) return denied
    const signal = { pid, waitMs: waitOf(fields.get('waitMs')) }
    const sent = answer(200, { ok: true }, { ...record, outcome: 'sent' })
    if (signal.waitMs === undefined) return { ...sent, signal }
    const exited = being.kind === 'obedient'
    const ended = answer(200, { ok: true, exited }, { ...record, outcome: exited ? 'exited' : 'running' })
    return { ...ended, records: [...sent.records, ...ended.records], signal }
  },
}

/** What the README says that becomes of a request: the first answer that a rule has. */
export const expectedOf = (request: WireRequest, place: Place): Expected => {
  for (const rule of Object.values(RULES)) {
    const expected = rule(request, place)
    if (!expected) continue
    // What is asked of the health check is not on record, and has no id.
    const isQuiet = request.method !== 'CONNECT' && targetOf(request.target)?.path === '/healthz'
    return {
      ...expected,
      ...(request.method === 'HEAD' ? { body: '' } : {}),
      ...(isQuiet ? { records: [] } : {}),
    }
  }
  throw new Error('No rule has an answer')
}
