// node:http by hand, with the same answers, headers, checks, look at /proc and record as the default server.
import { randomUUID } from 'node:crypto'
import { writeSync } from 'node:fs'
import { createServer } from 'node:http'
import { ANSWERS, DIGITS, HEADERS, MAX_BYTES, PATH, REASON_HEADER, refusalOf, terminate } from './job.mjs'

// Like the default server: the lines of one turn of the event loop go out together, in ASCII.
let lines = ''
const flush = () => {
  writeSync(1, lines)
  lines = ''
}
const write = (line) => {
  if (lines === '') setImmediate(flush)
  lines += `${line.replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)}\n`
}

/** The body as JSON, or undefined where it is none. */
const parse = (type, chunks) => {
  try {
    if (/^\s*application\/([\w.-]+\+)?json\s*(;|$)/i.test(type))
      return JSON.parse(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks))
  } catch {}
}

createServer((request, response) => {
  const start = performance.now()
  const id = randomUUID()
  const { headers, method, url } = request
  const remote = request.socket.remoteAddress
  const answer = (status, body, { pid, command, outcome = 'refused', reason } = {}) => {
    const text = JSON.stringify(body)
    const all = { ...HEADERS, 'X-Request-Id': id, 'Content-Type': 'application/json', 'Content-Length': text.length }
    if (status !== 200) all[REASON_HEADER] = reason ?? outcome
    response.writeHead(status, all).end(text)
    const ms = Math.round((performance.now() - start) * 1000) / 1000
    const time = new Date().toISOString()
    const path = url.slice(0, 64)
    write(JSON.stringify({ time, id, remote, method, path, pid, command, outcome, reason, status, ms }))
  }
  const refuse = (status, error, attempt) => answer(status, { error }, attempt)

  const refusal = refusalOf(headers)
  if (refusal) return refuse(403, refusal, { reason: refusal })
  if (url !== PATH) return refuse(404, 'Not Found', { reason: 'path' })
  if (method !== 'POST') return refuse(405, 'Method Not Allowed', { reason: 'method' })
  if (headers['content-length'] > MAX_BYTES) return refuse(413, 'Payload Too Large', { reason: 'size' })

  const chunks = []
  let bytes = 0
  request.on('data', (chunk) => {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes > MAX_BYTES) request.destroy()
  })
  request.on('end', () => {
    const body = Object(parse(headers['content-type'], chunks))
    const { pid } = body
    const number = typeof pid === 'string' && DIGITS.test(pid) ? Number(pid) : pid
    if (!Number.isSafeInteger(number) || number < 1) return refuse(400, 'Invalid pid', { pid, reason: 'pid' })
    for (const field in body) if (field !== 'pid') return refuse(400, 'Unknown field', { pid, reason: field })
    const attempt = { pid: number, ...terminate(number) }
    answer(...ANSWERS[attempt.outcome], attempt)
  })
}).listen(process.env.PORT, '127.0.0.1')
