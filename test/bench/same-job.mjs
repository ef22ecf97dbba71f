import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

const SET_BY_THE_JOB = ['cache-control', 'x-content-type-options', 'content-type', 'content-length']

/** What is asked of each server: all that a rival could save itself. Only our own processes have these PIDs. */
const questionsFor = (server, target) => {
  const thread = readdirSync(`/proc/${server.pid}/task`).find((id) => Number(id) !== server.pid)
  return {
    'a PID': [200, { pid: target.pid }],
    'digits in a string': [200, { pid: ` ${target.pid} ` }],
    'no PID': [400, {}],
    'no integer': [400, { pid: 1.5 }],
    'not above zero': [400, { pid: '0' }],
    'half a number': [400, { pid: '12abc' }],
    'beyond what JSON carries': [400, { pid: 2 ** 53 }],
    'an unknown field': [400, { pid: target.pid, startBefore: 'x' }],
    'no JSON': [400, '{'],
    'not sent as JSON': [400, { pid: target.pid }, { 'Content-Type': 'text/plain' }],
    'the server itself': [403, { pid: server.pid }],
    'a foreign Host': [403, { pid: target.pid }, { Host: 'tools.example' }],
    'a proxy': [403, { pid: target.pid }, { Via: '1.1 proxy' }],
    'a foreign origin': [403, { pid: target.pid }, { Origin: 'http://tools.example' }],
    'a page of another site': [403, { pid: target.pid }, { 'Sec-Fetch-Site': 'cross-site' }],
    nobody: [404, { pid: 2 ** 31 - 1 }],
    'more than a PID can be': [404, { pid: 2 ** 31 }],
    'a thread': [404, { pid: thread }],
    'another path': [404, {}, {}, '/api'],
    'too large a body': [413, `"${'x'.repeat(4096)}"`],
  }
}

/** What a server answers to each question, and what stands in its record then. */
const replies = async (server, target) => {
  const answers = []
  for (const [question, [expected, body, more, path = '']] of Object.entries(questionsFor(server, target))) {
    const sent = request(new URL(path, server.url), { method: 'POST', headers: { ...server.headers, ...more } })
    sent.end(typeof body === 'string' ? body : JSON.stringify(body))
    const [response] = await once(sent, 'response')
    assert.equal(response.statusCode, expected, `${server.name}, ${question}`)
    const text = (await response.setEncoding('utf8').toArray()).join('')
    answers.push({ question, text, received: response.headers })
  }
  await sleep(100)
  const records = server.records().map((line) => JSON.parse(line))
  return answers.map(({ received, ...answer }) => {
    const ours = records.find(({ id }) => id === received['x-request-id']) ?? {}
    const { remote, method, path, outcome, status, time, ms, pid, command } = ours
    const signalled = outcome === 'sent' && { pid, command }
    const record = { remote, method, path, outcome, status, isTimed: time > '2' && ms > 0, ...signalled }
    const headers = SET_BY_THE_JOB.map((name) => received[name]?.replace(/; charset=utf-8$/i, ''))
    return { ...answer, headers, hasReason: 'psys-kill-reason' in received, record }
  })
}

/** Throws where a server does not answer and record what the first one does, so that none is fast because it does less. */
export const assertSameJob = async ([first, ...others], target) => {
  const expected = await replies(first, target)
  for (const server of others) assert.deepEqual(await replies(server, target), expected, server.name)
}
