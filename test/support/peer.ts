import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'

/** A peer over real HTTP that counts the requests it gets; it answers after it has read all of one. */
export const startPeer = async (answer: RequestListener) => {
  let requests = 0
  const server = createServer((request, response) => {
    requests++
    request.resume().on('end', () => answer(request, response))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    url: `http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}`,
    requests: () => requests,
    [Symbol.dispose]: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}
