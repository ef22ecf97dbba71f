import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CONDITIONS } from '../../src/app/signaller.ts'
import { createApp } from '../../src/index.ts'
import { type Asked, anyRequest, anySignaller, type Behaviour, type Call, expectedOf } from '../support/model.ts'
import { KILL, streamOf } from '../support/post.ts'

/** Asks the app, with the body in a stream or with a declared length. */
const ask = async ({ method, type, body }: Asked, { supports, does }: Behaviour, streams: boolean) => {
  const calls: Call[] = []
  const causes: unknown[] = []
  const app = createApp({
    signaller: {
      supports: CONDITIONS.filter((name) => supports.includes(name)),
      terminate: (pid, { stopWaiting, onSignal, ...fields }) => {
        calls.push({ pid, ...fields })
        return does({ pid })
      },
    },
    onError: (cause) => causes.push(cause),
  })
  const headers = {
    ...(type !== undefined && { 'content-type': type }),
    ...(!streams && { 'content-length': `${body.length}` }),
  }
  const init = { method: 'POST', headers, body: streams ? streamOf([body]).stream : body, duplex: 'half' }
  // A Request refuses some methods, but a server receives them.
  const request = Object.defineProperty(new Request(`http://localhost${KILL}`, init), 'method', { value: method })
  const response = await app.fetch(request)
  return { response, text: await response.text(), calls, causes }
}

test('each request to each signaller gets the answer of the contract', () => {
  const property = fc.asyncProperty(anyRequest, anySignaller, fc.boolean(), async (asked, behaviour, streams) => {
    const { status, body, reason, call } = expectedOf(asked, behaviour)
    const { response, text, calls, causes } = await ask(asked, behaviour, streams)
    expect([response.status, response.headers.get('psys-kill-reason')]).toEqual([status, reason])
    expect(text).toBe(asked.method === 'HEAD' ? '' : body)
    expect(response.headers.get('content-type')).toBe('application/json')
    expect(response.headers.get('allow')).toBe(status === 405 ? 'POST' : null)
    expect(response.headers.get('retry-after')).toBe(status === 503 ? '1' : null)
    expect(calls).toEqual(call ? [call] : [])
    expect(causes).toHaveLength(status === 500 ? 1 : 0)
  })
  return fc.assert(property, { numRuns: 3000 })
})
