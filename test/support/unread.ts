import { spawn } from 'node:child_process'
import { once } from 'node:events'

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
