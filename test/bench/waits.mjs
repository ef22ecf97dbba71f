import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

const AT_ONCE = 128

/** What clients that wait for an exit cost the server: the share of a core, in per cent. */
export const costOfWaiting = async (server, pid, { clients = 256, seconds = 4 } = {}) => {
  const { hostname, port, pathname } = new URL(server.url)
  const body = JSON.stringify({ pid, waitMs: 60_000 })
  const request =
    `POST ${pathname} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${body.length}\r\n\r\n${body}`
  const sockets = []
  while (sockets.length < clients) {
    const some = Array.from({ length: AT_ONCE }, () => connect(Number(port), hostname))
    await Promise.all(some.map((socket) => once(socket, 'connect')))
    for (const socket of some) socket.write(request)
    sockets.push(...some)
  }
  await sleep(2000)
  const before = server.cpuSeconds()
  await sleep(seconds * 1000)
  const used = server.cpuSeconds() - before
  for (const socket of sockets) socket.destroy()
  return (used / seconds) * 100
}
