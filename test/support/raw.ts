import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { expect } from 'vitest'
import { KILL } from './post.ts'
import { heard } from './processes.ts'

/** A connection for raw bytes, and what arrives on it. */
export const conversationOn = <Connected extends Socket>(socket: Connected) => {
  // A reset is one of the ways in which a server closes.
  socket.on('error', () => {})
  const { closed, until } = heard(socket, 'latin1')
  return { socket, closed, until, [Symbol.dispose]: () => void socket.destroy() }
}

/** Opens a connection to a server, for what no HTTP client would send. */
export const openRaw = async (url: string) => {
  const { hostname, port } = new URL(url, 'http://localhost')
  const socket = url.startsWith('/') ? connect(url) : connect(Number(port), hostname.replace(/^\[(.*)\]$/, '$1'))
  await once(socket, 'connect')
  return conversationOn(socket)
}

/** Resolves when the server listens no more. */
export const refusesConnections = (url: string) =>
  expect(async () => {
    for (;;) (await openRaw(url))[Symbol.dispose]()
  }).rejects.toThrow()

const unchunk = (body: string): string => {
  const [, size = '', rest = ''] = /^([0-9a-f]+)\r\n(.*)$/s.exec(body) ?? []
  const length = Number.parseInt(size, 16)
  return length > 0 ? rest.slice(0, length) + unchunk(rest.slice(length + 2)) : ''
}

/** The parts of an answer. If its head is not complete, the status is NaN. */
const parse = (text: string) => {
  const [, line = '', lines = '', rest = ''] = /^(.*?)\r\n(.*?)\r\n\r\n(.*)$/s.exec(text) ?? []
  const pairs = [...lines.matchAll(/^(.*?): ?(.*)$/gm)].map(([, name = '', value]) => [name.toLowerCase(), value])
  const headers: Record<string, string> = Object.fromEntries(pairs)
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1])
  return { status, headers, body: headers['transfer-encoding'] === 'chunked' ? unchunk(rest) : rest }
}

/** Sends bytes on a new connection. Resolves with the answer when the server has closed the connection. */
export const exchange = async (url: string, request: string | Buffer) => {
  using connection = await openRaw(url)
  connection.socket.write(request)
  return parse(await connection.closed)
}

/** The text of a POST to the kill route after which the server closes. */
export const killRequest = (body: string | Buffer, { path = KILL, ...headers }: Record<string, string> = {}) => {
  const all = {
    host: 'localhost',
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
    ...headers,
  }
  const lines = Object.entries(all).filter(([, value]) => value !== '')
  const head = [`POST ${path} HTTP/1.1`, ...lines.map(([name, value]) => `${name}: ${value}`), '', ''].join('\r\n')
  return Buffer.concat([Buffer.from(head, 'latin1'), Buffer.from(body)])
}

// Passes on the first line of a command's output. The rest follows when asked for, or when the command has exited. When
// its own standard input ends, it kills the command, so that none is left behind.
const HOLDER = `
import os, pty, subprocess, sys, threading, time, tty
reader, writer = pty.openpty() if sys.argv[1] == 'terminal' else os.pipe()
if sys.argv[1] == 'terminal': tty.setraw(writer)
command = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=writer)
os.close(writer)
told = threading.Event()
def listen():
  for line in sys.stdin: told.set()
  command.kill()
threading.Thread(target=listen, daemon=True).start()
out = lambda some: (sys.stdout.buffer.write(some), sys.stdout.buffer.flush())
out(b'%d ' % command.pid)
some = b' '
while some not in (b'\\n', b''): out(some := os.read(reader, 1))
while not told.is_set() and command.poll() is None: time.sleep(0.01)
try:
  while some := os.read(reader, 65536): out(some)
except OSError: pass
os._exit(command.wait())
`

/** Starts a server whose output is a pipe or a terminal. Only its first line is read until `read()`. */
export const startUnread = async (kind: 'pipe' | 'terminal', command: readonly string[]) => {
  const holder = spawn('python3', ['-c', HOLDER, kind, ...command], { stdio: ['pipe', 'pipe', 'pipe'] })
  const { text, until } = heard(holder.stdout)
  const errors = heard(holder.stderr)
  const ended = once(holder, 'close').then(([code]) => ({ code, text: text().replace(/^\d+ /, '') }))
  const [, pid, url = ''] = /^(\d+) .*listening on ([^"]+)"\}\n/.exec(await until(/\n/)) ?? []
  if (!pid) throw new Error(errors.text())
  return {
    /** The process that writes. */
    pid: Number(pid),
    /** Where it listens, as its first line says. */
    url,
    until,
    /** Resolves with the exit code, and everything that was written. */
    ended,
    /** Reads the output from now on. */
    read: () => holder.stdin.write('read\n'),
    [Symbol.asyncDispose]: async () => {
      holder.stdin.end()
      await ended
    },
  }
}
