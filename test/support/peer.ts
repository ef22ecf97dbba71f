import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { text } from 'node:stream/consumers'

/** A peer over real HTTP. By default it reads all of a request before it answers, and keeps the body. */
export const startPeer = async (answer: RequestListener, { reads = true } = {}) => {
  const bodies: string[] = []
  const server = createServer((request, response) => {
    if (!reads) return answer(request, response)
    void text(request).then((body) => {
      bodies.push(body)
      answer(request, response)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`,
    bodies,
    [Symbol.dispose]: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
