import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CONDITIONS } from '../../src/app/signaller.ts'
import { createApp } from '../../src/index.ts'
import { anyRequest, anySignaller, type Call, expectedOf } from '../support/model.ts'
import { KILL, streamOf, told } from '../support/post.ts'

test('each request to each signaller gets the answer of the contract', () => {
  const property = fc.asyncProperty(anyRequest, anySignaller, fc.boolean(), async (asked, behaviour, isStream) => {
    const { method, type, body } = asked
    const expected = expectedOf(asked, behaviour)
    const calls: Call[] = []
    const causes: unknown[] = []
    const app = createApp({
      signaller: {
        supports: CONDITIONS.filter((name) => behaviour.supports.includes(name)),
        terminate: (pid, { stopWaiting, onSignal, ...fields }) => {
          calls.push({ pid, ...fields })
          return behaviour.does({ pid })
        },
      },
      onError: (cause) => causes.push(cause),
    })
    const headers = new Headers(type === undefined ? {} : { 'content-type': type })
    if (!isStream) headers.set('content-length', `${body.length}`)
    const init = { method: 'POST', headers, body: isStream ? streamOf([body]).stream : body, duplex: 'half' }
    // A Request refuses some methods, but a server receives them.
    const request = Object.defineProperty(new Request(`http://localhost${KILL}`, init), 'method', { value: method })
    const response = await app.fetch(request)
    expect(await told(response)).toEqual([expected.status, method === 'HEAD' ? '' : expected.body, expected.reason])
    expect(response.headers.get('allow')).toBe(expected.status === 405 ? 'POST' : null)
    expect(response.headers.get('retry-after')).toBe(expected.status === 503 ? '1' : null)
    expect(calls).toEqual(expected.call ? [expected.call] : [])
    expect(causes).toHaveLength(expected.status === 500 ? 1 : 0)
  })
  return fc.assert(property, { numRuns: 3000 })
})
