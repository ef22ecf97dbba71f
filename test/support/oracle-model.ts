/** A request as it goes out. Text is bytes: one character each. */
export interface WireRequest {
  method: string
  target: string
  version: string
  headers: readonly (readonly [string, string])[]
  body: string
  /** The size of its chunks, where it does not go out with its length. */
  chunk?: number
}

/** What the test knows of a process that it started; `never` is a PID that must not be signalled. */
export interface Being {
  kind: 'obedient' | 'deaf' | 'zombie' | 'thread' | 'never'
  command: string
}

/** Where a request arrives: what the settings of the server decide, and the processes. */
export interface Place {
  /** Host names that are answered, in lower case. */
  hosts: readonly string[] | 'any'
  origins: readonly string[]
  token?: string
  /** Set where the server may signal none of the processes. */
  powerless?: boolean
  beings: ReadonlyMap<number, Being>
}

export interface ExpectedRecord {
  outcome: string | undefined
  status: number
  hasReason: boolean
  /** Undefined where the request has none that is well-formed. */
  pid?: number
  command?: string
}

export interface Expected {
  status: number
  body: string
  headers: Readonly<Record<string, string>>
  records: readonly ExpectedRecord[]
  /** Who gets the signal, and for how long the request then waits. */
  signal?: { pid: number; waitMs: number | undefined }
}

export const KILL = '/api/connections/kill'
export const MAX_BODY = 4096
