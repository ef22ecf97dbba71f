import * as z from 'zod/mini'
import { answers, KILL_PATH, REASON_HEADER } from './contract.ts'
import { processSeen } from './request.ts'
import { CONDITIONS, type Outcome, type OutcomeCode, SIGNALLER_REASONS, type Signaller } from './signaller.ts'

/** A request to the peer, for any `fetch`. */
export interface PeerRequest {
  readonly method: 'POST'
  readonly headers: Record<string, string>
  readonly body: string
  readonly redirect: 'manual'
  readonly signal: AbortSignal
}

/** The parts of the peer's response that remoteSignaller reads. */
export interface PeerResponse {
  readonly status: number
  readonly headers: { get(name: string): string | null }
  readonly body: AsyncIterable<Uint8Array> | null
}

/** The options of remoteSignaller. */
export interface RemoteSignallerOptions {
  /** The peer's URL without `/api/connections/kill`, such as `http://10.0.0.5:3000`. No credentials in it. */
  url: string
  /** The peer's bearer token. Default: none. */
  token?: string | undefined
  /** Sends the request. Use undici's, for example, to send a client certificate. Default: the global `fetch`. */
  fetch?: (url: string, init: PeerRequest) => Promise<PeerResponse>
  /** How long the peer may take to answer, in milliseconds; `waitMs` is added. Default: 5000. */
  timeoutMs?: number
}

// A stream cannot be sent twice. Node's fetch sends a text body again after a 421, and Deno's after a reset.
const fetchOnce = (url: string, init: PeerRequest) => {
  const streamed = { ...init, body: new Blob([init.body]).stream(), duplex: 'half' }
  return globalThis.fetch(url, streamed)
}

/** The outcomes that a peer may answer to any request. */
const REFUSED: OutcomeCode[] = ['EPERM', 'ESRCH', 'too many waits', ...CONDITIONS.map((name) => `no ${name}` as const)]

/** The answer to a dry run that found the process. */
const lookAnswer = z.object({ ok: z.literal(true), dryRun: z.literal(true), process: processSeen })

const MAX_ANSWER_LENGTH = 4096

/** Reads the text of a response, and stops when it is longer than any answer of psys-kill. */
const readAnswer = async ({ body }: PeerResponse) => {
  const decoder = new TextDecoder()
  let text = ''
  for await (const chunk of body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    if (text.length > MAX_ANSWER_LENGTH) break
  }
  return text
}

/** The URL of the peer's endpoint. An error repeats no part of the URL: it may contain a password. */
const endpointOf = (url: string) => {
  const { protocol, username, password, search, hash } = new URL(URL.canParse(url) ? url : 'wrong:')
  if (!/^https?:$/.test(protocol) || username || password || search || hash)
    throw new TypeError('The URL of the peer must be http://… or https://…, without credentials, query or fragment')
  return url.replace(new RegExp(`(${KILL_PATH})?/*$`), KILL_PATH)
}

/**
 * Forwards to another psys-kill, the peer, and returns the peer's outcome. It needs a `fetch` that can stream the body
 * of a request, as on servers and Workers; over HTTP/1.1, browsers cannot. It sends one request per kill, follows no
 * redirect and never retries. The peer must be release 2 or newer: 1.0 ignores `dryRun`, and kills. With a 2.0 peer,
 * `instance` is answered 501.
 *
 * @returns a signaller. It throws if the peer is unreachable or too slow, or its answer is not an outcome (but a 401).
 *   The app then answers 500. The error has the peer's status, never its text, which may contain a token.
 * @throws {TypeError} if the URL or the token is malformed.
 *
 * @example
 * ```ts
 * import { createApp, remoteSignaller } from 'psys-kill'
 *
 * export const app = createApp({ signaller: remoteSignaller({ url: 'http://10.0.0.5:3000' }) })
 * ```
 */
export const remoteSignaller = ({ url, token, fetch = fetchOnce, timeoutMs = 5000 }: RemoteSignallerOptions) => {
  const endpoint = endpointOf(url)
  if (token !== undefined && !/^[A-Za-z0-9._~+/-]+=*$/.test(token))
    throw new TypeError('The token of the peer must have only A-Z a-z 0-9 - . _ ~ + /, with = only at its end')
  const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) }

  return {
    supports: CONDITIONS,
    terminate: async (pid, { stopWaiting, onSignal, ...asked }): Promise<Outcome> => {
      const { instance, waitMs, dryRun } = asked
      const timeout = AbortSignal.timeout(timeoutMs + (waitMs ?? 0))
      // AbortSignal.any holds the timeout weakly. Without a listener, Node may collect it before it fires.
      timeout.addEventListener('abort', () => {})
      if (!dryRun) onSignal({ code: 'forwarded' })
      const response = await fetch(endpoint, {
        method: 'POST',
        headers,
        body: JSON.stringify({ pid, ...asked }),
        redirect: 'manual',
        signal: AbortSignal.any([...stopWaiting, timeout]),
      })
      const text = await readAnswer(response)
      const isAnswer = ({ status, body }: { status: number; body: object }) =>
        status === response.status && JSON.stringify(body) === text

      // A peer that ignored dryRun has sent the signal: that throws below.
      const done: OutcomeCode[] = dryRun ? ['would send'] : waitMs === undefined ? ['sent'] : ['exited', 'running']
      const code = [...done, ...REFUSED].find((name) => isAnswer(answers[name]))
      const reason = SIGNALLER_REASONS.find((word) => word === response.headers.get(REASON_HEADER))
      if (code === 'EPERM' || code === 'ESRCH') return { code, reason }
      if (code !== undefined) return { code }
      if (instance !== undefined && isAnswer(answers['unknown field'])) return { code: 'no instance' }
      if (dryRun && response.status === answers['would send'].status) {
        // Drop the SyntaxError, which would repeat the text.
        const seen = await new Response(text).json().catch(() => undefined)
        const process = z.safeParse(lookAnswer, seen).data?.process
        if (process) return { code: 'would send', command: process.command, process }
      }
      throw new Error(`${endpoint} answered ${response.status}`)
    },
  } satisfies Signaller
}
