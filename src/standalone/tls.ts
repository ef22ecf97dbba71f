import { X509Certificate } from 'node:crypto'
import type { ServerOptions } from 'node:http'
import { createServer, type Server } from 'node:https'
import { createSecureContext, type SecureContextOptions, type TLSSocket } from 'node:tls'
import type { MiddlewareHandler } from 'hono'
import { refuse } from '../app/attempt.ts'
import { serverAnswers } from '../app/contract.ts'
import { orExplain, SettingsError } from './report.ts'
import { readSettingFile } from './secrets.ts'
import type { Settings } from './settings.ts'

/** The files of a server that speaks TLS, all in PEM. */
export type TlsFiles = NonNullable<Settings['tls']>
/** What the adapter passes to the app on a server that speaks TLS. */
type OnTls = { Bindings: { incoming: { socket: TLSSocket } } }

const BLOCK = /-----BEGIN (CERTIFICATE|X509 CRL)-----\s[A-Za-z0-9+/=\s]+-----END \1-----/g

/** Reads the authorities and revocation lists. Refuses a file of which Node would ignore any part (RFC 7468). */
const readAuthorities = (path: string) => {
  const file = readSettingFile('--tls-client-ca', path)
  return orExplain('Cannot use --tls-client-ca', () => {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(file)
    const blocks = text.match(BLOCK) ?? []
    if (/[^\P{Cc}\s]/u.test(text) || text.replace(BLOCK, '').includes('-----'))
      throw new Error('it may contain only complete PEM blocks (CERTIFICATE, X509 CRL) and text between them')
    const ca = blocks.filter((block) => block.startsWith('-----BEGIN CERT'))
    const crl = blocks.filter((block) => block.startsWith('-----BEGIN X509'))
    if (ca.length === 0) throw new Error('it has no certificate, and Node would trust the public authorities')
    // Node ignores a block that is not a certificate. X509Certificate throws.
    for (const pem of ca) new X509Certificate(pem)
    createSecureContext({ ca, crl })
    return { ca, crl }
  })
}

/**
 * Prepares a server that speaks TLS.
 *
 * @returns `create`, which creates the server, and `renew`, which reads the files again.
 *   - `renew` replaces the server's certificate and key, not the client CA. It returns until when the certificate is
 *     valid.
 *   - It throws if a file is wrong. Then nothing changes.
 * @throws {SettingsError} if a file is wrong.
 */
export const prepareTls = ({ cert, key, clientCa }: TlsFiles) => {
  if ('Bun' in globalThis) throw new SettingsError('Bun cannot serve TLS here; use Node, or a proxy with TLS in front.')
  // Deno resumes the TLS sessions of clients whose CA was removed.
  if (clientCa !== undefined && 'Deno' in globalThis)
    throw new SettingsError('Client certificates (--tls-client-ca) work on Node only; use a token here.')

  const readOwn = () => {
    const pem = readSettingFile('--tls-cert', cert).toString()
    const own: SecureContextOptions = { cert: pem, key: readSettingFile('--tls-key', key, true), minVersion: 'TLSv1.2' }
    return orExplain('Cannot use --tls-cert with --tls-key, which must be its key and have no passphrase', () => {
      createSecureContext(own)
      const { validFrom, validTo: until } = new X509Certificate(pem)
      if (Date.now() < Date.parse(validFrom) || Date.now() > Date.parse(until))
        throw new Error(`it is valid only from ${validFrom} until ${until}`)
      return { own, until }
    })
  }

  const { own } = readOwn()
  const authorities = clientCa === undefined ? {} : readAuthorities(clientCa)
  let server: Server | undefined

  const create = (options: ServerOptions) => {
    server = createServer({
      ...options,
      ...own,
      ...authorities,
      handshakeTimeout: 5000,
      // Let clients without a valid certificate in, to answer 401. Health checks need none, and refusals are recorded.
      requestCert: clientCa !== undefined,
      rejectUnauthorized: false,
    })
    // An unfinished handshake takes up to 80 kB, and one with a large client certificate up to 400 kB.
    server.maxConnections = clientCa === undefined ? 500 : 300
    return server
  }

  const renew = () => {
    const next = readOwn()
    // Pass the authorities again: otherwise Node would trust the public ones.
    server?.setSecureContext({ ...next.own, ...authorities })
    return next.until
  }

  return { create, renew }
}

/**
 * Answers 401 to a request without a client certificate that was verified and is still valid. The certificate's common
 * name, or else its first alternative name, is then in `c.get('killCaller')`.
 */
export const requireCertificate: MiddlewareHandler<OnTls> = async (c, next) => {
  const { socket } = c.env.incoming
  // Despite its type, getPeerCertificate returns {} without a certificate, and null without a connection.
  const { subject, subjectaltname, valid_to = '' } = socket.getPeerCertificate() ?? {}
  // If a client without a certificate resumes a session, Node 20 calls it authorized. So check the certificate too.
  if (!socket.authorized || !(Date.parse(valid_to) > Date.now()))
    return refuse(c, serverAnswers.unauthorized, { reason: 'certificate' })
  const [, first] = /^[^:]+:("(?:\\.|[^"])*"|[^,]*)/.exec(subjectaltname ?? '') ?? []
  c.set('killCaller', [subject?.CN].flat()[0] || first)
  return next()
}
