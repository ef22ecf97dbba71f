/** A host as it stands in a URL. (Only IPv6 has colons; isIPv6 and isIPv4 would compile huge patterns at each start.) */
export const hostInUrl = (host: string) => (host.includes(':') ? `[${host}]` : host)

/** Whether only programs on this machine can reach it. */
export const isLoopback = (host: string) => /^(localhost|::1|127(\.\d{1,3}){3})$/.test(host)
