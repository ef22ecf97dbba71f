import { Hono, type MiddlewareHandler } from 'hono'

/** A service behind a guard, and a way to ask it. */
export const behind = (guard: MiddlewareHandler) => {
  const service = new Hono().use(guard).all('*', (c) => c.json('passed'))
  // A guard returns its answers: what it throws is the host's to answer.
  service.onError((error, c) => c.text(String(error), 500))
  return async (headers: Record<string, string> = {}, { url = 'http://localhost:3000/', method = 'POST' } = {}) => {
    const response = await service.request(url, { method, headers })
    return { status: response.status, body: await response.text(), headers: response.headers }
  }
}

/** What gets by the guard. */
export const PASSED = { status: 200, body: '"passed"' }
