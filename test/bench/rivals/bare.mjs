// node:http with nothing but the job: parse, kill, answer.
import { createServer } from 'node:http'

createServer((request, response) => {
  let body = ''
  request.on('data', (chunk) => {
    body += chunk
  })
  request.on('end', () => {
    const answer = (status, text) => response.writeHead(status, { 'Content-Type': 'application/json' }).end(text)
    const { pid } = JSON.parse(body)
    if (!Number.isInteger(pid) || pid < 1) return answer(400, '{"error":"Invalid pid"}')
    try {
      process.kill(pid, 'SIGTERM')
      answer(200, '{"ok":true}')
    } catch (error) {
      if (error.code === 'ESRCH') return answer(404, '{"error":"Process not found"}')
      answer(403, '{"error":"Permission denied"}')
    }
  })
}).listen(process.env.PORT, '127.0.0.1')
