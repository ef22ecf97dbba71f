import type { Hono } from 'hono'
import { CONDITIONS, type Delivery, type Outcome } from '../../src/app/signaller.ts'

export const KILL = '/api/connections/kill'

/** What `app.request` and `fetch` need for a body that is a stream; the DOM's types do not know it. */
export const STREAMING = { duplex: 'half' }

/** The headers that are defined. */
export const present = (headers: Readonly<Record<string, string | undefined>>) =>
  Object.entries(headers).flatMap(([name, value]): [string, string][] => (value === undefined ? [] : [[name, value]]))

type App = Pick<Hono, 'request'>

/** POSTs to the kill route. It sends the body as it is, and no header that is undefined. */
export const postRaw = (
  app: App,
  body: BodyInit | null,
  headers: Readonly<Record<string, string | undefined>> = {},
  { path = KILL, ...init }: RequestInit & { path?: string } = {},
) => {
  const all = present({ 'content-type': 'application/json', ...headers })
  return app.request(path, { method: 'POST', body, headers: all, ...init, ...STREAMING })
}

/** POSTs a value as JSON. */
export const post = (app: App, value: unknown) => postRaw(app, JSON.stringify(value))

/** Status, body and reason of an answer; throws if it is not JSON. */
export const told = async (answering: Response | Promise<Response>) => {
  const response = await answering
  const type = response.headers.get('content-type')
  if (type !== 'application/json') throw new Error(`The answer is ${type}`)
  return [response.status, await response.text(), response.headers.get('psys-kill-reason')] as const
}

/** The same, as it must be for this refusal. */
export const refusal = (status: number, error: string, reason: string) =>
  [status, JSON.stringify({ error }), reason] as const

/** A stream that gives out its parts one by one, and counts them. */
export const streamOf = (parts: Iterable<Uint8Array<ArrayBuffer>>) => {
  const iterator = parts[Symbol.iterator]()
  let taken = 0
  const pull = (controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>) => {
    const { value, done } = iterator.next()
    if (done) return controller.close()
    taken++
    controller.enqueue(value)
  }
  return { stream: new ReadableStream({ pull }, { highWaterMark: 0 }), taken: () => taken }
}

type Outcomes = () => Outcome | Promise<Outcome>

const sent: Outcomes = () => ({ code: 'sent' })

/** Signals nothing, and remembers the PIDs. */
export const recordingSignaller = (outcome = sent) => {
  const pids: number[] = []
  const terminate = (pid: number) => {
    pids.push(pid)
    return outcome()
  }
  return { pids, terminate }
}

/** The same, but it supports every condition, and remembers the whole request if that has conditions. */
export const conditionalSignaller = (outcome = sent) => {
  const pids: number[] = []
  const calls: { pid: number; delivery: Delivery }[] = []
  const terminate = (pid: number, delivery: Delivery) => {
    if (CONDITIONS.every((name) => delivery[name] === undefined)) pids.push(pid)
    else calls.push({ pid, delivery })
    return outcome()
  }
  return { pids, calls, supports: CONDITIONS, terminate }
}
