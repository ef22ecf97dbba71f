import { hc, type InferResponseType } from 'hono/client'
import { expect, expectTypeOf, test } from 'vitest'
import type { AppType } from '../../src/index.ts'
import { createServerApp, type ServerAppType } from '../../src/server/index.ts'
import { TOKEN } from '../support/server.ts'

// tsc checks the types. Running them shows that the typed calls are the ones that work.
const { fetch } = createServerApp({
  signaller: { terminate: () => ({ code: 'sent' }) },
  log: { write: () => {} },
  token: TOKEN,
  hosts: ['localhost'],
})
const clientOf = (url: string) =>
  hc<ServerAppType>(url, {
    fetch: (input: string | URL | Request, init?: RequestInit) => fetch(new Request(input, init)),
  }).api.connections.kill
type Kill = ReturnType<typeof clientOf>['$post']
type Failure<Message extends string> = { readonly error: Message }

test('the typed client of the server knows the bodies of each status', async () => {
  expectTypeOf<InferResponseType<Kill, 401>>().toEqualTypeOf<Failure<'Unauthorized'>>()
  expectTypeOf<InferResponseType<Kill, 403>['error']>().toEqualTypeOf<
    'Permission denied' | 'Host not allowed' | 'Proxy not allowed' | 'Origin not allowed'
  >()
  expectTypeOf<InferResponseType<Kill, 404>['error']>().toEqualTypeOf<'Process not found' | 'Not Found'>()
  expectTypeOf<InferResponseType<Kill, 405>>().toEqualTypeOf<Failure<'Method Not Allowed'>>()
  type InAnApp = ReturnType<typeof hc<AppType>>['api']['connections']['kill']['$post']
  expectTypeOf<InferResponseType<Kill, 200>>().toEqualTypeOf<InferResponseType<InAnApp, 200>>()
  expectTypeOf<InferResponseType<Kill, 400>>().toEqualTypeOf<InferResponseType<InAnApp, 400>>()
  type Others = 413 | 500 | 501 | 503
  expectTypeOf<InferResponseType<Kill, Others>>().toEqualTypeOf<InferResponseType<InAnApp, Others>>()

  const response = await clientOf('http://localhost').$post({ json: { pid: 1234 } })
  if (response.status !== 401) expect.unreachable()
  const { error } = await response.json()
  expectTypeOf(error).toEqualTypeOf<'Unauthorized'>()
  expect(error).toBe('Unauthorized')
  const foreign = await clientOf('http://evil.example').$post({ json: { pid: 1234 } })
  expect(foreign.status === 403 && (await foreign.json()).error).toBe('Host not allowed')
})
