import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

const SET_BY_THE_JOB = ['cache-control', 'x-content-type-options', 'content-type', 'content-length']

/** What is asked of each server: all that a rival could save itself. Only our own processes have these PIDs. */
const questionsFor = (server, target) => {
  const threads = readdirSync(`/proc/${server.pid}/task`).map(Number)
  const thread = threads.find((each) => each !== server.pid)
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

const post = (server, body, headers, path) =>
  new Promise((resolve, reject) => {
    const url = new URL(path ?? server.url, server.url)
    const sent = request(url, { method: 'POST', headers: { ...server.headers, ...headers } }, async (response) => {
      let text = ''
      for await (const chunk of response.setEncoding('utf8')) text += chunk
      resolve({ status: response.statusCode, text, headers: response.headers })
    })
    sent.on('error', reject).end(typeof body === 'string' ? body : JSON.stringify(body))
  })

/** What a server answers to each question, and what stands in its record then. */
const replies = async (server, target) => {
  const asked = []
  for (const [question, [status, body, headers, path]] of Object.entries(questionsFor(server, target))) {
    const answer = await post(server, body, headers, path)
    assert.equal(answer.status, status, `${server.name}, ${question}`)
    asked.push({ question, answer })
  }
  await sleep(100)
  const records = Object.fromEntries(server.records().map((line) => [JSON.parse(line).id, JSON.parse(line)]))
  return asked.map(({ question, answer }) => {
    const { remote, method, path, outcome, status, ...others } = records[answer.headers['x-request-id']] ?? {}
    const signalled = outcome === 'sent' && { pid: others.pid, command: others.command }
    const record = { remote, method, path, outcome, status, isTimed: others.time > '2' && others.ms > 0, ...signalled }
    const headers = SET_BY_THE_JOB.map((name) => answer.headers[name]?.replace(/; charset=utf-8$/i, ''))
    return { question, text: answer.text, headers, hasReason: 'psys-kill-reason' in answer.headers, record }
  })
}

/** Throws where a server does not answer and record what the first one does, so that none is fast because it does less. */
export const assertSameJob = async ([first, ...others], target) => {
  const expected = await replies(first, target)
  for (const server of others) assert.deepEqual(await replies(server, target), expected, server.name)
}
