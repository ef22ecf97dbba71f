import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import process from 'node:process'

const buffer = Buffer.allocUnsafe(4096)

/**
 * Reads a short file; into a buffer that is there already, at half the system calls of readFileSync.
 *
 * @param whileOpen - is called before it is read. Default: nothing.
 */
export const readShort = (path: string, whileOpen = () => {}) => {
  const file = openSync(path, 'r')
  try {
    whileOpen()
    return buffer.toString('utf8', 0, readSync(file, buffer))
  } finally {
    closeSync(file)
  }
}

/** What `read` returns, or undefined where it throws. */
export const orUndefined = <Result>(read: () => Result) => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** Where the threads of a process have ids that kill(2) takes. */
export const onLinux = () => process.platform === 'linux' || process.platform === 'android'

/**
 * Whether /proc numbers processes as kill(2) does here. It does not on other systems, where it is not mounted, where it
 * is that of another PID namespace (which lists two PIDs for this process), and where the runtime forbids to read it.
 */
export const procIsOurs = () =>
  onLinux() &&
  orUndefined(
    () =>
      readShort('/proc/self/stat').startsWith(`${process.pid} `) &&
      !/^NSpid:\t\d+\t/m.test(readShort('/proc/self/status')),
  ) === true

/** Whether it shows everybody's processes: proc_pid_mountinfo(5) names `hidepid` where it is mounted with that. */
export const procHidesNothing = () => {
  const mounts = orUndefined(() => readFileSync('/proc/self/mountinfo', 'utf8')) ?? ''
  return / \/proc .* - proc /.test(mounts) && !/ \/proc .* - proc .*\bhidepid=/.test(mounts)
}

/**
 * One line on what is lost where /proc cannot be read on Linux; undefined where it can, and on other systems.
 *
 * @param protect - what nodeSignaller is to protect. Default: none.
 */
export const procWarning = (protect: readonly unknown[] = []) => {
  if (!onLinux() || procIsOurs()) return undefined
  const lost =
    protect.length > 0
      ? 'with PIDs to protect nothing at all is killed, as any other PID could be the id of one of their threads'
      : 'zombies and threads look like processes, and PID 1 and psys-kill are protected by their PIDs, not by the ids of their threads'
  return `Cannot read this system's own /proc: ${lost}. startedBefore and command are not supported.`
}

/** Whether this process may signal those of other users: CAP_KILL is bit 5 (capabilities(7)); elsewhere, root may. */
export const mayKillOthers = () => {
  const status = orUndefined(() => readShort('/proc/self/status')) ?? ''
  const [, effective] = /^CapEff:\s*(\S+)/m.exec(status) ?? []
  // Deno does not tell the user without --allow-sys.
  if (effective === undefined) return orUndefined(() => process.getuid?.()) === 0
  return (Number.parseInt(effective, 16) & 0x20) !== 0
}
