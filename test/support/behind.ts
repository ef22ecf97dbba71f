import { Hono, type MiddlewareHandler } from 'hono'
import { HTTPException } from 'hono/http-exception'

/** A service behind a guard, and a way to ask it. */
export const behind = (guard: MiddlewareHandler) => {
  const service = new Hono().use(guard).all('*', (c) => c.json('passed'))
  service.onError((error, c) => (error instanceof HTTPException ? error.getResponse() : c.text(String(error), 500)))
  return async (headers: Record<string, string> = {}, { url = 'http://localhost:3000/', method = 'POST' } = {}) => {
    const response = await service.request(url, { method, headers })
    return { status: response.status, body: await response.text(), headers: response.headers }
  }
}

/** What gets by the guard. */
export const PASSED = { status: 200, body: '"passed"' }
