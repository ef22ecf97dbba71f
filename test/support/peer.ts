import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'

/** A peer over real HTTP that counts the requests it gets. By default it reads all of a request before it answers. */
export const startPeer = async (answer: RequestListener, { reads = true } = {}) => {
  let requests = 0
  const server = createServer((request, response) => {
    requests++
    if (reads) request.resume().on('end', () => answer(request, response))
    else answer(request, response)
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
