import { SettingsError } from './settings-error.ts'

/** A host as it stands in a URL. (Only IPv6 has colons; isIPv6 and isIPv4 would compile huge patterns at each start.) */
export const hostInUrl = (host: string) => (host.includes(':') ? `[${host}]` : host)

/** Whether only programs on this machine can reach it. */
const isLoopback = (host: string) => /^(localhost|::1|127(\.\d{1,3}){3})$/.test(host)

/**
 * The values of Host to answer where the server listens on a host, or, if that is undefined, on a Unix domain socket;
 * undefined: any.
 *
 * @param isOpen - whether the server answers whoever reaches it.
 * @throws {SettingsError} where that would be the network.
 */
export const hostsAt = (host: string | undefined, isOpen: boolean, allowHost?: readonly string[]) => {
  if (host === undefined) return allowHost
  if (isLoopback(host)) return ['localhost', '127.0.0.1', '[::1]', hostInUrl(host), ...(allowHost ?? [])]
  if (!isOpen) return allowHost
  throw new SettingsError(
    `Listening on ${host} lets the network in: set a token (--token-file or PSYS_KILL_TOKEN) or --tls-client-ca, or listen on 127.0.0.1.`,
  )
}
