import { SettingsError } from './settings-error.ts'

export type Environment = Readonly<Record<string, string | undefined>>

const IP = String.raw`(\d{1,3}(\.\d{1,3}){3}|[\da-f:]*:[\da-f:.]*)`

/** A variable that Kubernetes adds to a pod for a Service, with its value. */
const OF_SERVICE = new RegExp(
  String.raw`^[A-Z\d_]+_(SERVICE_HOST=${IP}|SERVICE_PORT(_[A-Z\d_]+)?=\d+|PORT(_\d+_(TCP|UDP|SCTP))?=(tcp|udp|sctp)://(\[${IP}\]|${IP}):\d+|PORT_\d+_(TCP|UDP|SCTP)_(PROTO=(tcp|udp|sctp)|PORT=\d+|ADDR=${IP}))$`,
)

const letters = (name: string) => name.replace(/[^A-Za-z\d]/g, '').toUpperCase()

/** Whether one character more, one less, another one or a swap of two neighbours makes them the same. */
const isNear = (a: string, b: string) => {
  let same = 0
  while (same < a.length && a[same] === b[same]) same++
  const [x, y] = [a.slice(same), b.slice(same)]
  return x === y.slice(1) || x.slice(1) === y || x.slice(1) === y.slice(1) || x.replace(/^(.)(.)/, '$2$1') === y
}

/**
 * Refuses a variable that looks like one of psys-kill's and is none: it starts with `PSYS_KILL_`, in whatever case, or
 * is one slip off one that there is. What Kubernetes adds for Services is passed over, where its value has their form.
 *
 * @param known - the names that there are.
 */
export const refuseUnknownVariables = (env: Environment, known: readonly string[]) => {
  for (const name of Object.keys(env)) {
    // One slip off, a name still has one of these words; most names have none.
    if (!/psys|kill/i.test(name) || known.includes(name) || OF_SERVICE.test(`${name}=${env[name]}`)) continue
    const meant = known.find((each) => isNear(letters(name), letters(each.replace(/^PORT$/, 'PSYS_KILL_PORT'))))
    if (meant !== undefined) throw new SettingsError(`Unknown variable ${name}; it is spelt ${meant}. See --help.`)
    if (/^PSYS_KILL_/i.test(name)) throw new SettingsError(`Unknown variable ${name}. See --help.`)
  }
}
