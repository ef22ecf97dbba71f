import { type Asked, askOnOneConnection, bytesOf, isParsed, type Scene } from './asking.ts'
import { pidOf } from './oracle-forms.ts'
import type { ExpectedRecord } from './oracle-model.ts'

const COMMON = { 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' }
const COMPARED = ['content-type', 'allow', 'www-authenticate', 'retry-after', 'cache-control', 'x-content-type-options']
const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/

const recordOf = (record: Record<string, unknown>, expected: ExpectedRecord | undefined) => ({
  outcome: record['outcome'],
  status: record['status'],
  // The README promises one for a refusal; where a process was looked at there may be one.
  hasReason: record['outcome'] === 'refused' && typeof record['reason'] === 'string' && record['reason'] !== '',
  // A refused one is there as it was sent.
  ...(expected?.pid === undefined ? {} : { pid: record['reason'] ? pidOf(record['pid']) : record['pid'] }),
  ...(record['command'] === undefined ? {} : { command: record['command'] }),
})

const isDated = ({ time, ms }: Record<string, unknown>) =>
  typeof time === 'string' && new Date(time).toISOString() === time && typeof ms === 'number' && ms >= 0

/** Where answer and records are not as expected, both of them, and the request. */
const differenceOf = ({ seed, request, expected, answer }: Asked, records: readonly Record<string, unknown>[]) => {
  const wanted = {
    ...expected,
    headers: { ...(isParsed(expected) ? COMMON : {}), ...expected.headers },
    signal: undefined,
    hasId: expected.records.length > 0,
  }
  const headers = Object.fromEntries([...(answer?.headers ?? [])].filter(([name]) => COMPARED.includes(name)))
  const id = answer?.headers.get('x-request-id')
  const got = {
    status: answer?.status,
    body: answer?.body,
    headers,
    records: records.map((record, index) => recordOf(record, expected.records[index])),
    hasId: id !== undefined && UUID.test(id),
  }
  const text = (value: object) =>
    JSON.stringify(value, (_, inner: unknown) =>
      inner instanceof Object && !Array.isArray(inner) ? Object.fromEntries(Object.entries(inner).sort()) : inner,
    )
  if (text(wanted) === text(got)) return undefined
  const raw = JSON.stringify(bytesOf(request).toString('latin1'))
  return [`seed ${seed}`, raw.replace(/(.)\1{80,}/g, '$1…'), `expected ${text(wanted)}`, `got      ${text(got)}`].join(
    '\n',
  )
}

/** Asks that many random requests and resolves with what differs from the oracle. The server is stopped. */
export const differencesIn = async (scene: Scene, { seed, requests }: { seed: number; requests: number }) => {
  const all: Asked[] = []
  const problems: string[] = []
  let next = seed
  const lane = async () => {
    // Three are enough to see what is wrong, and each may have taken seconds.
    while (all.length < requests && problems.length < 3) {
      const seedOfThese = next++
      const { asked, problems: found } = await askOnOneConnection(seedOfThese, scene).catch((error: unknown) => ({
        asked: [],
        problems: [`${error}`],
      }))
      all.push(...asked)
      problems.push(...found.map((problem) => `seed ${seedOfThese}: ${problem}`))
    }
  }
  await Promise.all(Array.from({ length: 4 }, lane))
  const exitCode = await scene.server.stop()
  if (exitCode !== 0) problems.push(`The server exited with ${exitCode}`)
  const remote = scene.server.url.startsWith('/') ? undefined : '127.0.0.1'
  const byId = new Map<unknown, Record<string, unknown>[]>()
  for (const record of scene.server.records) {
    if (!isDated(record) || record['remote'] !== remote) problems.push(`A record: ${JSON.stringify(record)}`)
    const same = byId.get(record['id'])
    if (same) same.push(record)
    else byId.set(record['id'], [record])
  }
  for (const one of all) {
    const id = one.answer?.headers.get('x-request-id')
    const difference = differenceOf(one, byId.get(id) ?? [])
    if (difference) problems.push(difference)
    byId.delete(id)
  }
  for (const left of byId.values()) problems.push(`Records of no answer: ${JSON.stringify(left)}`)
  return { problems, answers: all.map(({ answer }) => `${answer?.status} ${answer?.body}`) }
}
