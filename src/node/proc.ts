import { closeSync, openSync, readFileSync, readSync } from 'node:fs'

const buffer = Buffer.allocUnsafe(4096)

/**
 * Reads a short file into a shared buffer, with half the system calls of readFileSync.
 *
 * @param whileOpen - called after the file is opened and before it is read. Default: nothing.
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

/** The code of a system error, or undefined for anything else. */
export const errorCode = (error: unknown) => (error instanceof Error && 'code' in error ? error.code : undefined)

/** Returns what `read` returns, or undefined if it throws. */
export const orUndefined = <Result>(read: () => Result) => {
  try {
    return read()
  } catch {
    return undefined
  }
}

/** Whether this is Linux. There, kill(2) also takes the ids of threads. */
export const onLinux = () => process.platform === 'linux' || process.platform === 'android'

/** Whether /proc uses our PIDs. In the /proc of another PID namespace, this process has two (NSpid). */
const usesOurPids = () =>
  readShort('/proc/self/stat').startsWith(`${process.pid} `) && !/^NSpid:\t\d+\t/m.test(readShort('/proc/self/status'))

/** Whether /proc can be read, and uses the same PIDs as kill(2). */
export const procIsOurs = () => onLinux() && orUndefined(usesOurPids) === true

/** Whether /proc shows the processes of all users: it is not mounted with `hidepid` (proc_pid_mountinfo(5)). */
export const procHidesNothing = () => {
  const mounts = orUndefined(() => readFileSync('/proc/self/mountinfo', 'utf8')) ?? ''
  return / \/proc .* - proc /.test(mounts) && !/ \/proc .* - proc .*\bhidepid=/.test(mounts)
}

/** Identifies this boot; undefined if the system does not tell. 16 hexadecimal digits are enough for that. */
export const readBootId = () =>
  orUndefined(() => readShort('/proc/sys/kernel/random/boot_id').replaceAll('-', '').slice(0, 16)) || undefined

/** Seconds since boot, as the kernel counts them; NaN if the kernel does not tell. */
export const readUptime = () => Number.parseFloat(orUndefined(() => readShort('/proc/uptime')) ?? '')
