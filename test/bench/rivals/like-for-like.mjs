// node:http by hand, with the same answers, headers, checks, look at /proc and record as the default server.
import { randomUUID } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createServer } from 'node:http'

const HOSTS = new Set(['localhost', '127.0.0.1', '[::1]'])
const MAX_PID = 2 ** 31 - 1

createServer((request, response) => {
  const start = performance.now()
  const id = randomUUID()
  const { headers, method, url } = request
  const remote = request.socket.remoteAddress
  const answer = (status, text, { pid, command, outcome = 'refused', reason } = {}) => {
    response.writeHead(status, {
      'Cache-Control': 'no-store',
      'X-Content-Type-Options': 'nosniff',
      'X-Request-Id': id,
      'Content-Type': 'application/json',
      'Content-Length': text.length,
    })
    response.end(text)
    const ms = Math.round((performance.now() - start) * 1000) / 1000
    const time = new Date().toISOString()
    const record = { time, id, remote, method, path: url.slice(0, 64), pid, command, outcome, reason, status, ms }
    process.stdout.write(`${JSON.stringify(record)}\n`)
  }

  if (!HOSTS.has(headers.host?.replace(/:\d*$/, '').toLowerCase())) return answer(403, '{"error":"Host not allowed"}')
  if (headers.origin !== undefined || headers['sec-fetch-site'] === 'cross-site')
    return answer(403, '{"error":"Origin not allowed"}')
  if (url !== '/api/connections/kill') return answer(404, '{"error":"Not Found"}')
  if (method !== 'POST') return answer(405, '{"error":"Method Not Allowed"}')
  if (headers['content-length'] > 4096) return answer(413, '{"error":"Payload Too Large"}')

  let body = ''
  request.setEncoding('utf8')
  request.on('data', (chunk) => {
    body += chunk
    if (body.length > 4096) request.destroy()
  })
  request.on('end', () => {
    let pid
    let others = {}
    try {
      if (/^application\/json\b/i.test(headers['content-type'])) ({ pid, ...others } = JSON.parse(body))
    } catch {}
    const number = typeof pid === 'string' && /^\s*[0-9]+\s*$/.test(pid) ? Number(pid) : pid
    if (!Number.isSafeInteger(number) || number < 1)
      return answer(400, '{"error":"Invalid pid"}', { pid, reason: 'pid' })
    if (Object.keys(others).length > 0) return answer(400, '{"error":"Unknown field"}', { pid, reason: 'field' })
    const gone = (command) => answer(404, '{"error":"Process not found"}', { pid: number, command, outcome: 'ESRCH' })
    const denied = (command) => answer(403, '{"error":"Permission denied"}', { pid: number, command, outcome: 'EPERM' })
    if (number > MAX_PID) return gone()
    let stat
    try {
      stat = readFileSync(`/proc/${number}/stat`, 'utf8')
    } catch {
      return gone()
    }
    const end = stat.lastIndexOf(')')
    const command = stat.slice(stat.indexOf('(') + 1, end)
    const fields = stat.slice(end + 2).split(' ')
    if (number === 1 || number === process.pid || fields[6] & 0x200000) return denied(command)
    if (fields[0] === 'Z' || fields[35] === '-1') return gone(command)
    try {
      process.kill(number, 'SIGTERM')
      answer(200, '{"ok":true}', { pid: number, command, outcome: 'sent' })
    } catch (error) {
      if (error.code === 'ESRCH') return gone(command)
      denied(command)
    }
  })
}).listen(process.env.PORT, '127.0.0.1')
