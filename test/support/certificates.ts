import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import type { emptyFolder } from './folder.ts'

type Folder = ReturnType<typeof emptyFolder>

const openssl = (...args: readonly string[]) => execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] })
const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

/** A certificate and its key: as files, and as the text that a client takes. */
export interface Identity {
  certFile: string
  keyFile: string
  cert: string
  key: string
}

interface Wanted {
  /** As openssl takes it. Default: the name as CN. */
  subject?: string
  /** `DNS:a.example`. */
  alternative?: string
  /** From when and to when, in days from now. Default: yesterday to tomorrow. */
  days?: readonly [from: number, to: number]
}

const time = (days: number) =>
  `${new Date(Date.now() + days * 86_400_000).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`

/** A certificate authority of openssl's with its files in the folder. */
export const authority = (folder: Folder, ca: string) => {
  const file = (name: string) => folder.file(`${ca}-${name}`)
  const config = file('config')
  const caFile = file('ca.pem')
  writeFileSync(file('index'), '')
  writeFileSync(
    config,
    `[ca]\ndefault_ca = a\n[a]\ndatabase = ${file('index')}\nrand_serial = yes\nunique_subject = no\ncopy_extensions = copy
new_certs_dir = ${folder.path}\ncertificate = ${caFile}\nprivate_key = ${file('ca.key')}\ndefault_md = sha256
default_crl_days = 2\npolicy = p\n[p]\ncommonName = optional\norganizationName = optional\n`,
  )
  const usage = ['-addext', 'keyUsage=keyCertSign,cRLSign']
  openssl(
    'req',
    '-x509',
    '-days',
    '2',
    ...NEW_KEY,
    '-keyout',
    file('ca.key'),
    '-subj',
    `/CN=${ca}`,
    ...usage,
    '-out',
    caFile,
  )

  return {
    caFile,
    ca: readFileSync(caFile, 'utf8'),
    issue: (
      name: string,
      { subject = `/CN=${name}`, alternative, days: [from, to] = [-1, 1] }: Wanted = {},
    ): Identity => {
      const [certFile, keyFile, request] = [file(`${name}.pem`), file(`${name}.key`), file(`${name}.csr`)]
      const names = alternative === undefined ? [] : ['-addext', `subjectAltName=${alternative}`]
      openssl('req', '-new', ...NEW_KEY, '-keyout', keyFile, '-subj', subject, ...names, '-out', request)
      const dates = ['-startdate', time(from), '-enddate', time(to)]
      openssl('ca', '-batch', '-notext', '-config', config, ...dates, '-in', request, '-out', certFile)
      return { certFile, keyFile, cert: readFileSync(certFile, 'utf8'), key: readFileSync(keyFile, 'utf8') }
    },
    /** Revokes a certificate and returns the list of all that are. */
    revoke: ({ certFile }: Identity) => {
      openssl('ca', '-config', config, '-revoke', certFile)
      return openssl('ca', '-gencrl', '-config', config).toString()
    },
  }
}

/** The certificate of a server on loopback. */
export const LOOPBACK = { alternative: 'DNS:localhost,IP:127.0.0.1' }
