import type { Server, ServerOptions } from 'node:http'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import type { Context, MiddlewareHandler } from 'hono'
import { refuse } from '../app/attempt.ts'
import { serverAnswers } from '../app/contract.ts'
import { orExplain, SettingsError } from './report.ts'
import { readSettingFile } from './secrets.ts'

/** The files of a server that speaks TLS, all in PEM. */
export interface TlsFiles {
  /** The server's certificate, then the intermediate certificates. */
  cert: string
  key: string
  /** The authorities (CA) of client certificates, and their revocation lists (CRL). */
  clientCa?: string | undefined
}

const BLOCK = /-----BEGIN (CERTIFICATE|X509 CRL)-----\s[A-Za-z0-9+/=\s]+-----END \1-----/g

/** Splits a file of certificates and revocation lists. Throws if Node would ignore any part of it (RFC 7468). */
const pemBlocks = (file: Buffer) => {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(file)
  const blocks = text.match(BLOCK) ?? []
  if (/[^\P{Cc}\s]/u.test(text) || text.replace(BLOCK, '').includes('-----'))
    throw new Error('it has a part that is no complete block of a CERTIFICATE or an X509 CRL in PEM')
  return {
    ca: blocks.filter((block) => block.startsWith('-----BEGIN CERT')),
    crl: blocks.filter((block) => block.startsWith('-----BEGIN X509')),
  }
}

/**
 * Prepares a server that speaks TLS. It loads Node's modules for TLS, so a server without TLS does not.
 *
 * @returns `create`, which creates the server, and `renew`, which reads the files again.
 *   - `renew` replaces the server's certificate and key. It returns until when the certificate is valid.
 *   - It also returns whether the client CA file has changed. Only a restart applies that.
 *   - It throws if a file is wrong. Then nothing changes.
 * @throws {SettingsError} if a file is wrong.
 */
export const prepareTls = async ({ cert, key, clientCa }: TlsFiles) => {
  if ('Bun' in globalThis) throw new SettingsError('Bun cannot serve TLS here; use Node, or a proxy with TLS in front.')
  // Deno resumes the TLS sessions of clients whose CA was removed.
  if (clientCa !== undefined && 'Deno' in globalThis)
    throw new SettingsError('Client certificates (--tls-client-ca) work on Node only; use a token here.')
  const { createServer } = await import('node:https')
  const { createSecureContext } = await import('node:tls')
  const { X509Certificate } = await import('node:crypto')

  /** Why a certificate is not valid now; undefined if it is. */
  const invalidity = (pem: string) => {
    const { validFrom, validTo } = new X509Certificate(pem)
    const isValid = Date.parse(validFrom) <= Date.now() && Date.now() <= Date.parse(validTo)
    return isValid ? undefined : `it is valid only from ${validFrom} until ${validTo}`
  }

  const readOwn = () => {
    const pem = readSettingFile('--tls-cert', cert).toString()
    const own: SecureContextOptions = { cert: pem, key: readSettingFile('--tls-key', key, true), minVersion: 'TLSv1.2' }
    return orExplain('Cannot use the certificate of --tls-cert with --tls-key', () => {
      const reason = invalidity(pem)
      if (reason !== undefined) throw new Error(reason)
      createSecureContext(own)
      return { own, until: new X509Certificate(pem).validTo }
    })
  }

  const readClientCa = () => clientCa && readSettingFile('--tls-client-ca', clientCa)
  const clientCaFile = readClientCa()
  const authorities = orExplain('Cannot use --tls-client-ca', () => {
    if (!clientCaFile) return {}
    const { ca, crl } = pemBlocks(clientCaFile)
    const reasons = ca.map(invalidity)
    // Without any, Node would trust the public authorities. One valid CA is enough: during a change the file has two.
    if (!reasons.includes(undefined)) throw new Error(reasons[0] ?? 'it has no certificate')
    const both = { ca, ...(crl.length > 0 && { crl }) }
    createSecureContext(both)
    return both
  })

  let { own } = readOwn()
  let server: ReturnType<typeof createServer> | undefined

  const create = (options: ServerOptions): Server => {
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
    const changed = String(readClientCa()) !== String(clientCaFile)
    own = next.own
    // Pass the authorities again: otherwise Node would trust the public ones.
    server?.setSecureContext({ ...own, ...authorities })
    return { until: next.until, clientCaChanged: changed }
  }

  return { create, renew }
}

/**
 * Answers 401 to a request without a client certificate that was verified and is still valid. The certificate's common
 * name, or else its first alternative name, is then in `c.get('killCaller')`.
 */
export const requireCertificate: MiddlewareHandler = async (
  c: Context<{ Bindings: { incoming: { socket: TLSSocket } } }>,
  next,
) => {
  const { socket } = c.env.incoming
  // Despite its type, it returns {} without a certificate, and null without a connection.
  const { subject, subjectaltname, valid_to = '' } = socket.getPeerCertificate() ?? {}
  // If a client without a certificate resumes a session, Node 20 calls it authorized. So check the certificate too.
  if (!socket.authorized || !(Date.parse(valid_to) > Date.now()))
    return refuse(c, serverAnswers.unauthorized, { reason: 'certificate' })
  const [, first] = /^[^:]+:("(?:\\.|[^"])*"|[^,]*)/.exec(subjectaltname ?? '') ?? []
  c.set('killCaller', [subject?.CN].flat()[0] || first)
  return next()
}
