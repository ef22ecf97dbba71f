import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { inTime } from './processes.ts'

export interface RawConnection extends Disposable {
  socket: Socket
  /** Everything received so far. */
  received: () => string
  /** Resolves with everything received once it matches; rejects where the connection ends before. */
  until: (pattern: RegExp) => Promise<string>
  /** Resolves with everything received when the server has closed. */
  closed: Promise<string>
}

/** Opens a connection to a server, for what no HTTP client would send. */
export const openRaw = async (url: string): Promise<RawConnection> => {
  const { hostname, port } = url.startsWith('/') ? { hostname: '', port: '' } : new URL(url)
  const socket = url.startsWith('/') ? connect(url) : connect(Number(port), hostname.replace(/^\[(.*)\]$/, '$1'))
  await once(socket, 'connect')
  let text = ''
  socket.setEncoding('latin1')
  socket.on('data', (chunk) => {
    text += chunk
  })
  // A reset is one of the ways in which a server closes.
  socket.on('error', () => {})
  const closed = new Promise<string>((resolve) => socket.once('close', () => resolve(text)))
  return {
    socket,
    received: () => text,
    closed,
    until: (pattern) => {
      const matched = new Promise<string>((resolve, reject) => {
        const look = () => {
          if (!pattern.test(text)) return
          socket.off('data', look)
          resolve(text)
        }
        socket.on('data', look)
        closed.then(() => reject(new Error(`Closed after ${JSON.stringify(text)}`)))
        look()
      })
      return inTime(`an answer like ${pattern}`, matched, () => `Came: ${JSON.stringify(text)}`)
    },
    [Symbol.dispose]: () => socket.destroy(),
  }
}

/** Resolves when nobody listens any more. */
export const refusesConnections = async (url: string): Promise<void> => {
  for (;;) {
    try {
      using _connection = await openRaw(url)
    } catch {
      return
    }
  }
}

export interface RawAnswer {
  status: number
  headers: Record<string, string>
  body: string
}

/** The head of an answer, and where its body begins; undefined if the head is not complete. */
const headOf = (text: string) => {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd < 0) return undefined
  const [line = '', ...lines] = text.slice(0, headEnd).split('\r\n')
  const headers = new Map(
    lines.map((header) => header.split(/: ?(.*)/, 2)).map(([key = '', value = '']) => [key.toLowerCase(), value]),
  )
  return { status: Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1]), headers, start: headEnd + 4 }
}

const unchunk = (body: string): string => {
  const [, size = '', rest = ''] = /^([0-9a-f]+)\r\n(.*)$/s.exec(body) ?? []
  const length = Number.parseInt(size, 16)
  return length > 0 ? rest.slice(0, length) + unchunk(rest.slice(length + 2)) : ''
}

const parse = (text: string): RawAnswer => {
  const { status = Number.NaN, headers = new Map<string, string>(), start = text.length } = headOf(text) ?? {}
  const body = text.slice(start)
  const chunked = headers.get('transfer-encoding') === 'chunked'
  return { status, headers: Object.fromEntries(headers), body: chunked ? unchunk(body) : body }
}

/** Sends bytes on a connection of their own and resolves with the answer, complete once the server has closed. */
export const exchange = async (url: string, request: string | Buffer): Promise<RawAnswer> => {
  using connection = await openRaw(url)
  connection.socket.write(request)
  return parse(await connection.closed)
}

/** The text of a POST to the kill route after which the server closes. */
export const killRequest = (
  body: string | Buffer,
  { path = '/api/connections/kill', ...headers }: Record<string, string> = {},
) => {
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

// Passes on the first line that a command writes, and the rest when told to or when the command has exited. It kills the
// command when its own standard input ends, so that none is left whatever becomes of the test.
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

export interface Unread extends AsyncDisposable {
  /** The process that writes. */
  pid: number
  /** Where it listens, as its first line says. */
  url: string
  /** From now on somebody reads. */
  read: () => void
  /** Resolves with everything that was read so far once it matches. */
  until: (pattern: RegExp) => Promise<string>
  /** Resolves with the exit code, and everything that was written. */
  ended: Promise<{ code: number | null; text: string }>
}

/** Starts a server whose standard output is a pipe, or a terminal, of which only the first line is read for now. */
export const startUnread = async (kind: 'pipe' | 'terminal', command: readonly string[]): Promise<Unread> => {
  const holder = spawn('python3', ['-c', HOLDER, kind, ...command], { stdio: ['pipe', 'pipe', 'pipe'] })
  let all = ''
  let errors = ''
  holder.stdout.setEncoding('utf8').on('data', (chunk) => {
    all += chunk
  })
  holder.stderr.on('data', (chunk) => {
    errors += chunk
  })
  const ended = once(holder, 'close').then(([code]) => ({ code, text: all.replace(/^\d+ /, '') }))
  const until = async (pattern: RegExp) => {
    while (!pattern.test(all)) {
      if (await Promise.race([once(holder.stdout, 'data').then(() => false), ended])) throw new Error(errors)
    }
    return all
  }
  const [, pid, url = ''] = /^(\d+) .*listening on ([^"]+)"\}\n/.exec(await until(/\n/)) ?? []
  return {
    pid: Number(pid),
    url,
    until,
    ended,
    read: () => holder.stdin.write('read\n'),
    [Symbol.asyncDispose]: async () => {
      holder.stdin.end()
      await ended
    },
  }
}
