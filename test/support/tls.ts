import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { text } from 'node:stream/consumers'
import { type ConnectionOptions, connect } from 'node:tls'
import type { emptyFolder } from './folder.ts'
import { KILL, present } from './post.ts'
import { conversationOn } from './raw.ts'

type Folder = ReturnType<typeof emptyFolder>

const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] })
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** A certificate and its key, as files and as text. */
export type Identity = ReturnType<ReturnType<typeof authority>['issue']>

const time = (days: number) =>
  `${new Date(Date.now() + days * 86_400_000).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`

/** A certificate authority of openssl. Its files are in the folder. */
export const authority = (folder: Folder, ca: string) => {
  const file = (name: string) => folder.file(`${ca}-${name}`)
  const config = file('config')
  const caFile = file('ca.pem')
  writeFileSync(file('index'), '')
  writeFileSync(
    config,
    `[ca]\ndefault_ca = a\n[a]\ndatabase = ${file('index')}\nrand_serial = yes\nunique_subject = no\ncopy_extensions = copy
new_certs_dir = ${folder.path}\ncertificate = ${caFile}\nprivate_key = ${file('ca.key')}\ndefault_md = sha256
default_crl_days = 2\npolicy = p\n[p]\ncommonName = optional\n`,
  )
  const subject = ['-subj', `/CN=${ca}`, '-addext', 'keyUsage=keyCertSign,cRLSign']
  openssl('req', '-x509', '-days', '2', ...NEW_KEY, '-keyout', file('ca.key'), ...subject, '-out', caFile)

  return {
    caFile,
    ca: readFileSync(caFile, 'utf8'),
    /** Issues a certificate, with an alternative name such as `DNS:a.example`; `days` are counted from now. */
    issue: (name: string, { alternative = '', days: [from, to] = [-1, 1] } = {}) => {
      const [certFile, keyFile, request] = [file(`${name}.pem`), file(`${name}.key`), file(`${name}.csr`)]
      const names = alternative === '' ? [] : ['-addext', `subjectAltName=${alternative}`]
      openssl('req', '-new', ...NEW_KEY, '-keyout', keyFile, '-subj', `/CN=${name}`, ...names, '-out', request)
      const dates = ['-startdate', time(from), '-enddate', time(to)]
      openssl('ca', '-batch', '-notext', '-config', config, ...dates, '-in', request, '-out', certFile)
      return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }
    },
    /** Revokes a certificate. Returns the list of all revoked ones. */
    revoke: ({ certFile }: { certFile: string }) => {
      openssl('ca', '-config', config, '-revoke', certFile)
      return openssl('ca', '-gencrl', '-config', config).toString()
    },
  }
}

/** The certificate of a server on loopback. */
export const LOOPBACK = { alternative: 'DNS:localhost,IP:127.0.0.1' }

export interface Asking {
  method?: string
  path?: string
  headers?: Readonly<Record<string, string | undefined>>
  body?: unknown
  /** Default: a connection of its own. */
  agent?: Agent
}

/** Asks a server over TLS. The client has a certificate and key, and an authority that it trusts. */
export const askTls = async (
  url: string,
  client: ConnectionOptions,
  { method = 'POST', path = KILL, headers = {}, body = {}, agent = new Agent({ ...client }) }: Asking = {},
) => {
  const all = { 'content-type': 'application/json', ...headers }
  const sending = request(url + path, { method, agent, headers: Object.fromEntries(present(all)) })
  sending.end(typeof body === 'string' ? body : JSON.stringify(body))
  const [response] = await once(sending, 'response')
  return { status: Number(response.statusCode), text: await text(response), headers: response.headers }
}

/** A connection over TLS for raw bytes. */
export const openTls = async (url: string, options: ConnectionOptions) => {
  const { hostname, port } = new URL(url)
  const socket = connect({ host: hostname, port: Number(port), ...options })
  await once(socket, 'secureConnect')
  return conversationOn(socket)
}
