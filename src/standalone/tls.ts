import type { ServerOptions } from 'node:http'
import type { SecureContextOptions } from 'node:tls'
import { readSettingFile } from './setting-file.ts'
import { messageOf, SettingsError } from './settings-error.ts'

/** The files of a server that speaks TLS. */
export interface TlsFiles {
  /** Its certificate, with those that lead to a known one, as PEM. */
  cert: string
  key: string
  /** The authorities whose certificates clients must have for a kill, and lists of revoked ones, as PEM. */
  clientCa?: string | undefined
}

/** How long a client may take for the handshake, in milliseconds. */
const HANDSHAKE_MS = 5000
/** How many connections at once; each may take 80 kB, and 3,000 half handshakes took 305 MB. */
const MAX_CONNECTIONS = 1000

const blocks = (text: string, kind: string) =>
  text.match(new RegExp(`-----BEGIN ${kind}-----[^-]+-----END ${kind}-----`, 'g')) ?? []

/**
 * A server that speaks TLS. Node's modules for it are loaded here, and only where TLS is asked for.
 *
 * @returns the server, and `renew`, which reads the files again; it throws where one of them is wrong, and goes by the
 * old ones then.
 * @throws {SettingsError} where one of the files is wrong.
 */
export const tlsServer = async (
  { cert, key, clientCa }: TlsFiles,
  options: ServerOptions,
  warn: (text: string) => void,
) => {
  // It can load no new certificate, and tells neither the beginning of a connection nor the name of a client.
  if ('Bun' in globalThis) throw new SettingsError('Bun cannot serve TLS here; use Node, or a proxy with TLS in front.')
  // It lets sessions of an authority that is out go on.
  if (clientCa !== undefined && 'Deno' in globalThis)
    throw new SettingsError('Client certificates (--tls-client-ca) are checked on Node only; use a token here.')
  const { createServer } = await import('node:https')
  const { createSecureContext } = await import('node:tls')
  const { X509Certificate } = await import('node:crypto')

  /** Why a certificate is not valid now, if so. */
  const invalidity = (pem: string) => {
    const { validFrom, validTo } = new X509Certificate(pem)
    if (Date.parse(validTo) < Date.now()) return `it expired on ${validTo}`
    return Date.parse(validFrom) > Date.now() ? `it is not valid before ${validFrom}` : undefined
  }

  /** Fails with one line where `use` does. */
  const using = <Result>(files: string, use: () => Result) => {
    try {
      return use()
    } catch (error) {
      throw new SettingsError(`${files} cannot be used: ${messageOf(error)}.`)
    }
  }

  const read = (): SecureContextOptions => {
    const own: SecureContextOptions = {
      cert: readSettingFile(cert, 'certificate'),
      key: readSettingFile(key, 'key', warn),
      minVersion: 'TLSv1.2',
    }
    using(`The certificate ${cert} with the key ${key}`, () => {
      const reason = invalidity(String(own.cert))
      if (reason !== undefined) throw new Error(reason)
      createSecureContext(own)
    })
    if (clientCa === undefined) return own
    const authorities = readSettingFile(clientCa, 'certificate')
    return using(`The client CA ${clientCa}`, () => {
      const ca = blocks(authorities, 'CERTIFICATE')
      const crl = blocks(authorities, 'X509 CRL')
      const reasons = ca.map(invalidity)
      // Without any authority Node would go by those of the web. One that is valid is enough, as they are replaced in turn.
      if (!reasons.includes(undefined)) throw new Error(reasons[0] ?? 'there is no certificate in it')
      const both = { ...own, ca, ...(crl.length > 0 && { crl }) }
      createSecureContext(both)
      return both
    })
  }

  const server = createServer({
    ...options,
    ...read(),
    handshakeTimeout: HANDSHAKE_MS,
    // A client without a good certificate is answered: a probe needs none, and others are refused on record.
    requestCert: clientCa !== undefined,
    rejectUnauthorized: false,
  })
  server.maxConnections = MAX_CONNECTIONS
  return { server, renew: () => server.setSecureContext(read()) }
}
