import { SettingsError } from './settings-error.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const IP = String.raw`(\d{1,3}(\.\d{1,3}){3}|[\da-f:]*:[\da-f:.]*)`

/** The variables that Kubernetes adds to a pod for each Service, by the ends of their names, and the form of their values. */
const OF_SERVICES = [
  [/_SERVICE_HOST$/, IP],
  [/_SERVICE_PORT(_[A-Z\d_]+)?$/, String.raw`\d+`],
  [/_PORT(_\d+_(TCP|UDP|SCTP))?$/, String.raw`(tcp|udp|sctp)://(\[${IP}\]|${IP}):\d+`],
  [/_PORT_\d+_(TCP|UDP|SCTP)_PROTO$/, 'tcp|udp|sctp'],
  [/_PORT_\d+_(TCP|UDP|SCTP)_PORT$/, String.raw`\d+`],
  [/_PORT_\d+_(TCP|UDP|SCTP)_ADDR$/, IP],
] as const

const isOfService = (name: string, value: string) =>
  /^[A-Z\d_]+$/.test(name) &&
  OF_SERVICES.some(([ending, form]) => ending.test(name) && new RegExp(`^(${form})$`).test(value))

const letters = (name: string) => name.replace(/[^A-Za-z\d]/g, '').toUpperCase()

/** Whether one character more, one less or another one makes them the same. */
const isNear = (a: string, b: string) => {
  let same = 0
  while (same < a.length && a[same] === b[same]) same++
  return [a.slice(same + 1), a.slice(same)].includes(b.slice(same + 1)) || a.slice(same + 1) === b.slice(same)
}

/**
 * Refuses a variable that looks like one of psys-kill's and is none: it starts with `PSYS_KILL_`, in whatever case, or
 * is a character off one that there is. What Kubernetes adds for Services is passed over, where its value has their form.
 *
 * @param known - the names that there are.
 */
export const refuseUnknownVariables = (env: Environment, known: readonly string[]) => {
  for (const name of Object.keys(env)) {
    // One character off, a name still has one of these words; most names have none.
    if (!/psys|kill/i.test(name) || known.includes(name) || isOfService(name, env[name] ?? '')) continue
    const meant = known.find((each) => isNear(letters(name), letters(each.replace(/^PORT$/, 'PSYS_KILL_PORT'))))
    if (meant !== undefined) throw new SettingsError(`Unknown variable ${name}; it is spelt ${meant}. See --help.`)
    if (/^PSYS_KILL_/i.test(name)) throw new SettingsError(`Unknown variable ${name}. See --help.`)
  }
}
