import { optionOf, SETTINGS, variableOf } from './settings-table.ts'

const row = (option: string, variable: string, takes: string, use: string) =>
  `  ${option.padEnd(17)}${variable.padEnd(25)}${takes}\n${''.padEnd(19)}${use}\n`

export const HELP = `psys-kill: the HTTP endpoint that terminates a process by its PID

Usage: psys-kill [--OPTION VALUE]...

Serves POST /api/connections/kill {"pid":1234}, which sends SIGTERM to that
process. A socket that systemd hands over is served instead of host and port.

Options, or the variables that hold them; several values with commas between:
${Object.entries(SETTINGS)
  .map(([name, { takes, use }]) => row(`--${optionOf(name)}`, variableOf(name), takes, use))
  .join('')}${row('', 'PSYS_KILL_TOKEN', 'a token', 'require this bearer token')}  -h, --help
  -v, --version

Examples:
  psys-kill --port 8080
  psys-kill --socket /run/psys-kill/socket
  psys-kill --host 10.0.0.1 --token-file /etc/psys-kill.token
`
