import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import process from 'node:process'

const buffer = Buffer.allocUnsafe(4096)

/**
 * Reads a short file into a buffer that exists already: half the system calls of readFileSync.
 *
 * @param whileOpen - is called before the file is read. Default: nothing.
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

/** Returns what `read` returns, or undefined if it throws. */
export const orUndefined = <Result>(read: () => Result) => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** Whether kill(2) takes the ids of threads here. */
export const onLinux = () => process.platform === 'linux' || process.platform === 'android'

/**
 * Whether /proc uses the same PIDs as kill(2) does here. It does not if it belongs to another PID namespace (then this
 * process has two PIDs in it), if it is not mounted, if the runtime may not read it, and on other systems.
 */
export const procIsOurs = () =>
  onLinux() &&
  orUndefined(
    () =>
      readShort('/proc/self/stat').startsWith(`${process.pid} `) &&
      !/^NSpid:\t\d+\t/m.test(readShort('/proc/self/status')),
  ) === true

/** Whether /proc shows the processes of all users. If it does not, proc_pid_mountinfo(5) has the option `hidepid`. */
export const procHidesNothing = () => {
  const mounts = orUndefined(() => readFileSync('/proc/self/mountinfo', 'utf8')) ?? ''
  return / \/proc .* - proc /.test(mounts) && !/ \/proc .* - proc .*\bhidepid=/.test(mounts)
}

/** Identifies this boot; undefined if the system does not tell. 16 hexadecimal digits are enough to tell boots apart. */
export const readBootId = () =>
  orUndefined(() => readShort('/proc/sys/kernel/random/boot_id').replaceAll('-', '').slice(0, 16)) || undefined

/** Seconds since boot, as the kernel counts them; NaN if it does not tell. */
export const readUptime = () => Number.parseFloat(orUndefined(() => readShort('/proc/uptime')) ?? '')

/**
 * Returns one line that says what is lost if /proc cannot be read on Linux; undefined if it can, and on other systems.
 *
 * @param protect - what nodeSignaller protects. Default: nothing.
 */
export const procWarning = (protect: readonly unknown[] = []) => {
  if (!onLinux() || procIsOurs()) return undefined
  const lost =
    protect.length > 0
      ? 'nothing is killed, because any PID could be a thread of a protected process'
      : 'zombies and threads look like processes, and a thread of PID 1 or of psys-kill is not protected'
  return `Cannot read this system's own /proc: ${lost}. instance and command are not supported.`
}

/** Whether this process may signal those of other users: CAP_KILL is bit 5 (capabilities(7)). Elsewhere, root may. */
export const mayKillOthers = () => {
  const status = orUndefined(() => readShort('/proc/self/status')) ?? ''
  const [, effective] = /^CapEff:\s*(\S+)/m.exec(status) ?? []
  // Deno does not tell the user without --allow-sys.
  if (effective === undefined) return orUndefined(() => process.getuid?.()) === 0
  return (Number.parseInt(effective, 16) & 0x20) !== 0
}
