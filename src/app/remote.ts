import * as z from 'zod/mini'
import { answers, KILL_PATH } from './answers.ts'
import { processSeen } from './dry-run.ts'
import { CONDITIONS, type Delivery, type Outcome, type OutcomeCode, type Signaller } from './signaller.ts'

/** A request to the peer, as any `fetch` takes it. */
export interface PeerRequest {
  readonly method: 'POST'
  readonly headers: Record<string, string>
  readonly body: string
  readonly redirect: 'manual'
  readonly signal: AbortSignal
}

/** What remoteSignaller takes. */
export interface RemoteSignallerOptions {
  /** The peer: what comes before `/api/connections/kill` in its URL, such as `http://10.0.0.5:3000`. */
  url: string
  /** The peer's bearer token. Default: none. */
  token?: string
  /** Sends the request: undici's, say, with a client certificate. Default: the global `fetch`. */
  fetch?: (url: string, init: PeerRequest) => Promise<Pick<Response, 'status' | 'text'>>
  /** How long the peer may take to answer, in milliseconds, `waitMs` not counted. Default: 5000. */
  timeoutMs?: number
}

const inBrowser = 'document' in globalThis || 'WorkerGlobalScope' in globalThis

// After a 421 Node's fetch would send a text again, and Deno's after a reset; a stream they cannot. Browsers take none
// over HTTP/1.1.
const fetchOnce = (url: string, init: PeerRequest) => {
  const streamed = { ...init, body: new Blob([init.body]).stream(), duplex: 'half' }
  return globalThis.fetch(url, inBrowser ? init : streamed)
}

/** What a peer may answer whatever was asked of it. */
const UNSIGNALLED: OutcomeCode[] = [
  'EPERM',
  'ESRCH',
  'too many waits',
  ...CONDITIONS.map((name) => `no ${name}` as const),
]
const WITHOUT_WAIT: OutcomeCode[] = ['sent', ...UNSIGNALLED]
const WITH_WAIT: OutcomeCode[] = ['exited', 'running', ...UNSIGNALLED]
const AFTER_DRY_RUN: OutcomeCode[] = ['would send', ...UNSIGNALLED]

/** The process that the answer to a dry run tells of; undefined where it is no such answer. */
const processIn = (text: string) => {
  const before = JSON.stringify(answers['would send'].body).slice(0, -1)
  return text.startsWith(before) ? z.safeParse(processSeen, JSON.parse(text).process).data : undefined
}

/** The years that a peer reads, as milliseconds; what an offset took beyond them is before or after every process. */
const FIRST = Date.parse('0000-01-01T00:00:00Z')
const LAST = Date.parse('9999-12-31T23:59:59.999Z')
const readable = (time?: Date) => time && new Date(Math.min(Math.max(time.getTime(), FIRST), LAST))

/**
 * Forwards to another psys-kill and hands back its outcome: for a gateway, a Worker, any place that has `fetch`.
 *
 * One request goes out for one that comes in: redirects are not followed and nothing is tried again.
 *
 * A peer must be of release 2 or newer: 1.0 passes over a `dryRun` that it does not know, and kills.
 *
 * @returns a signaller; it throws when the peer cannot be reached, takes too long, or answers with anything that is
 * not an outcome (a 400, a 401, a page of a proxy), so that the app answers 500 and its log has the cause.
 *
 * @example
 * ```ts
 * const app = createApp({ signaller: remoteSignaller({ url: 'http://10.0.0.5:3000', token }) })
 * ```
 */
export const remoteSignaller = ({
  url,
  token,
  fetch = fetchOnce,
  timeoutMs = 5000,
}: RemoteSignallerOptions): Signaller => {
  const base = url.replace(/\/+$/, '')
  const endpoint = base.endsWith(KILL_PATH) ? base : base + KILL_PATH
  const headers = {
    'content-type': 'application/json',
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  }

  return {
    // Whatever is asked is passed on below.
    supports: CONDITIONS,
    terminate: async (pid, { stopWaiting, onSignal, ...asked }: Delivery): Promise<Outcome> => {
      const { startedBefore, waitMs, dryRun } = asked
      const timeout = AbortSignal.timeout(timeoutMs + (waitMs ?? 0))
      // Without a listener of its own Node may collect it before it fires: AbortSignal.any refers to it but weakly.
      timeout.addEventListener('abort', () => {})
      if (!dryRun) onSignal({ code: 'forwarded' })
      const response = await fetch(endpoint, {
        method: 'POST',
        headers,
        body: JSON.stringify({ pid, ...asked, startedBefore: readable(startedBefore) }),
        redirect: 'manual',
        signal: AbortSignal.any([...stopWaiting, timeout]),
      })
      const text = await response.text()
      const expected = dryRun ? AFTER_DRY_RUN : waitMs === undefined ? WITHOUT_WAIT : WITH_WAIT
      const code = expected.find(
        (name) => answers[name].status === response.status && JSON.stringify(answers[name].body) === text,
      )
      if (code !== undefined) return { code }
      // A signal that the peer sent all the same is no outcome of a dry run.
      const process = dryRun && response.status === answers['would send'].status ? processIn(text) : undefined
      if (process) return { code: 'would send', command: process.command, process }
      throw new Error(`${endpoint} answered ${response.status} ${text.slice(0, 200)}`)
    },
  }
}
