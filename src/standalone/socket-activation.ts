import process from 'node:process'
import { SettingsError } from './settings-error.ts'
import type { Environment } from './unknown-variable.ts'

/** The first descriptor that systemd hands over, SD_LISTEN_FDS_START of sd_listen_fds(3). */
const FIRST_FD = 3

/**
 * The descriptor of the socket that systemd hands over; undefined where it does not.
 *
 * @param told - whether a setting tells where to listen.
 * @throws {SettingsError} where that contradicts a setting, where it is not one socket, and where the socket is another
 * process's and nothing else tells where to listen: what was meant for a group would be open to every user.
 */
export const handedSocket = ({ LISTEN_FDS, LISTEN_PID }: Environment, told: boolean) => {
  if (LISTEN_FDS === undefined) return undefined
  const isOurs = LISTEN_PID === String(process.pid)
  if (!isOurs && told) return undefined
  if (!isOurs)
    throw new SettingsError(
      `LISTEN_FDS hands a socket to process ${LISTEN_PID}, not to this one (${process.pid}): start it by exec, or choose --host, --port or --socket.`,
    )
  if (told)
    throw new SettingsError('systemd hands over the socket (LISTEN_FDS): leave out --host, --port and --socket.')
  if (LISTEN_FDS !== '1')
    throw new SettingsError(`systemd must hand over one socket, not ${LISTEN_FDS}: keep one Listen line.`)
  return FIRST_FD
}
