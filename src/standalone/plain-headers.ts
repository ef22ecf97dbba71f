import type { Context } from 'hono'

/**
 * Replaces `c.header` and `c.json`, to put the headers of an answer into a plain object. The adapter passes that to
 * node:http as it is. Hono's own methods make a Headers object: a 200 then costs a fifth more. Call this first: headers
 * that were set before are lost. Requests with Origin keep Hono's own methods, because `cors` needs them.
 */
export const plainHeaders = (c: Context) => {
  if (c.req.method !== 'POST' || c.req.header('origin') !== undefined) return
  const common: Record<string, string> = { 'Content-Type': 'application/json' }
  Object.assign(c, {
    header: (name: string, value: string) => {
      common[name] = value
    },
    json: (body: unknown, status: number, headers?: Record<string, string>) =>
      new Response(JSON.stringify(body), { status, headers: Object.assign(common, headers) }),
  })
}
