import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Asked, type Behaviour, expectedOf, harmlessRequest } from '../support/model.ts'
import { needsLinux } from '../support/needs.ts'
import { exchange } from '../support/raw.ts'
import { type RunningServer, startServer } from '../support/server.ts'

// The real signaller is behind it: the requests name only PIDs that no system has.
let server: RunningServer
beforeAll(async () => {
  server = await startServer()
})
afterAll(() => server.stop())

const BEHAVIOUR: Behaviour = { supports: ['instance', 'waitMs', 'dryRun', 'command'], does: () => ({ code: 'ESRCH' }) }

/** Sends a request with a declared length, or in chunks of this size. */
const ask = ({ method, type, body }: Asked, chunk = 0) => {
  const chunks = Array.from({ length: chunk && Math.ceil(body.length / chunk) }, (_, i) => {
    const part = body.subarray(i * chunk, (i + 1) * chunk)
    return [`${part.length.toString(16)}\r\n`, part, '\r\n']
  })
  const framing = chunk ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`
  const head = [`${method} /api/connections/kill HTTP/1.1`, 'Host: localhost', 'Connection: close', framing]
  const lines = [...head, ...(type === undefined ? [] : [`Content-Type: ${type}`]), '', '']
  const parts = [lines.join('\r\n'), ...(chunk ? [...chunks.flat(), '0\r\n\r\n'] : [body])]
  return exchange(server.url, Buffer.concat(parts.map((part) => Buffer.from(part))))
}

test('each request over the wire gets the answer of the contract, and its reason is on record', (context) => {
  needsLinux(context)
  const property = fc.asyncProperty(harmlessRequest, fc.constantFrom(0, 50, 5000), async (asked, chunk) => {
    const expected = expectedOf(asked, BEHAVIOUR)
    const { status, headers, body } = await ask(asked, chunk)
    expect({ status, body, reason: headers['psys-kill-reason'] ?? null }).toEqual({ ...expected, call: undefined })
    expect(headers['content-type']).toBe('application/json')
    const record = await server.record(({ id }) => id === headers['x-request-id'])
    expect(record).toMatchObject({ status, reason: expected.reason })
  })
  return fc.assert(property, { numRuns: 300 })
})
