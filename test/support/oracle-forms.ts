/** The name and the port of a Host or an authority; undefined where it is unusable. */
export const hostOf = (text: string) => {
  const match = /^(?:([\w.-]+|\[[\da-f:.]+\])(?::(\d+))?)?$/i.exec(text)
  const [, name = '', port = ''] = match ?? []
  return match && Number(port) <= 65_535 ? { name: name.toLowerCase(), port } : undefined
}

/** The path of a target, and scheme and authority of the absolute form; undefined where it is unusable. */
export const targetOf = (target: string) => {
  const [, scheme = 'http', authority, rest = ''] = /^(?:(https?):\/\/([^/?#]*))?(?:([/?#].*))?$/.exec(target) ?? []
  if ((authority === undefined && !rest.startsWith('/')) || rest.includes('\\')) return undefined
  // The same by RFC 3986: dot segments, and letters and digits that need not have been escaped.
  const { pathname } = new URL(`http://any${rest}`)
  return { scheme, authority, path: pathname.replace(/%(?:[46][1-9a-f]|[57][\da]|3\d)/gi, decodeURIComponent) }
}

/** The value that a body is; undefined where it is no JSON. */
export const jsonOf = (bytes: string): unknown => {
  try {
    return JSON.parse(new TextDecoder().decode(Buffer.from(bytes, 'latin1')))
  } catch {
    return undefined
  }
}

/** The PID that a value is; undefined where it is none. */
export const pidOf = (value: unknown) => {
  const pid = typeof value === 'string' && /^\s*[0-9]+\s*$/.test(value) ? Number(value) : value
  return typeof pid === 'number' && Number.isSafeInteger(pid) && pid > 0 ? pid : undefined
}

const TIME = /^(\d{4}-\d\d-\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/

/** The milliseconds since 1970 of a `startedBefore`; undefined where it is malformed. */
export const timeOf = (value: unknown) => {
  const [text = '', day = ''] = typeof value === 'string' ? (TIME.exec(value) ?? []) : []
  // February has no 30th day, and Date.parse finds one.
  const isDay = !Number.isNaN(Date.parse(day)) && new Date(`${day}T00:00:00Z`).toISOString().startsWith(day)
  return isDay ? Date.parse(text) : undefined
}

/** The milliseconds of a `waitMs`; undefined where it is malformed. */
export const waitOf = (value: unknown) =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 60_000 ? value : undefined
