// The part of the job that is no framework's, for all rivals alike, and written for speed: what may call, the look at
// /proc and the signal.
import { closeSync, openSync, readSync } from 'node:fs'

export const PATH = '/api/connections/kill'
export const REASON_HEADER = 'Psys-Kill-Reason'
export const MAX_BYTES = 4096
export const DIGITS = /^\s*[0-9]+\s*$/
export const HEADERS = { 'Cache-Control': 'no-store', 'X-Content-Type-Options': 'nosniff' }

const HOSTS = new Set(['localhost', '127.0.0.1', '[::1]'])
const PF_KTHREAD = 0x200000
const STAT = /\((.*)\) (\S)(?: \S+){5} (\d+)(?: \S+){10} (\d+) \S+ (\d+)(?: \S+){15} (-?\d+)/s
const PROXY = /^(forwarded|via|x-real-ip|x-forwarded-.*)$/

/** Why not to answer a request, by its headers; undefined where there is no reason. */
export const refusalOf = (headers) => {
  const { host = '', origin, 'sec-fetch-site': site } = headers
  if (!HOSTS.has(host.replace(/:\d*$/, '').toLowerCase())) return 'Host not allowed'
  for (const name in headers) if (PROXY.test(name)) return 'Proxy not allowed'
  if (origin !== undefined && origin !== `http://${host}`) return 'Origin not allowed'
  return site === 'cross-site' ? 'Origin not allowed' : undefined
}

const buffer = Buffer.allocUnsafe(4096)

const readStat = (pid) => {
  const file = openSync(`/proc/${pid}/stat`, 'r')
  try {
    return buffer.toString('utf8', 0, readSync(file, buffer))
  } finally {
    closeSync(file)
  }
}

/** Sends SIGTERM to what is a living process and no protected one; returns the outcome and the name for the record. */
export const terminate = (pid) => {
  let command
  try {
    if (pid >= 2 ** 31) return { outcome: 'ESRCH' }
    const [, name, state, flags, threads, , exitSignal] = STAT.exec(readStat(pid))
    command = name
    if (pid === 1 || pid === process.pid || flags & PF_KTHREAD) return { outcome: 'EPERM', command }
    if (exitSignal === '-1' || (/[ZX]/.test(state) && threads <= 1)) return { outcome: 'ESRCH', command }
    process.kill(pid, 'SIGTERM')
    return { outcome: 'sent', command }
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ESRCH') return { outcome: 'ESRCH', command }
    if (error.code === 'EPERM') return { outcome: 'EPERM', command }
    throw error
  }
}

/** What the client gets. */
export const ANSWERS = {
  sent: [200, { ok: true }],
  EPERM: [403, { error: 'Permission denied' }],
  ESRCH: [404, { error: 'Process not found' }],
}
