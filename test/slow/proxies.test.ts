import { readFileSync } from 'node:fs'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { freePort } from '../support/listening.ts'
import { KILL } from '../support/post.ts'
import { startSleeper } from '../support/processes.ts'
import { startServer } from '../support/server.ts'
import { authority } from '../support/tls.ts'
import { hasChromium, postFrom, startChromium } from './chromium.ts'
import { missingForNginx, startNginx } from './nginx.ts'

beforeEach(({ skip }) => {
  skip(!hasChromium, 'needs chromium')
  skip(missingForNginx.length > 0, `needs ${missingForNginx.join()}`)
})

const folder = emptyFolder()
let browser: Browser
let page: Page
beforeAll(async () => {
  if (!hasChromium) return
  browser = await startChromium()
  page = await browser.newPage()
})
afterAll(async () => {
  await browser?.close()
  folder[Symbol.dispose]()
})

/** The rows of the README's table: what is in front, and the options for it. */
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
const rows = readme.matchAll(/^\| (.+?) \| `(--allow-proxy [^`]+)` \|/gm)
const recipes = Array.from(rows, ([, front = '', options = '']) => [front, options.split(' ')] as const)

const startFront = (front: string, port: number, upstream: string) => {
  let listen = `listen 127.0.0.1:${port};`
  if (front.startsWith('TLS')) {
    const { certFile, keyFile } = authority(folder, 'web').issue('tools', { alternative: 'DNS:tools.example' })
    listen = `listen 127.0.0.1:${port} ssl; ssl_certificate ${certFile}; ssl_certificate_key ${keyFile};`
  }
  let host = 'proxy_set_header Host $host;'
  if (front === 'nginx, `proxy_pass` alone') host = ''
  // As Next does.
  if (front.startsWith('`rewrites`')) host = 'proxy_set_header X-Forwarded-Host $http_host;'
  return startNginx(`server { ${listen} default_type text/html;
    location = / { return 200 "<title>tools</title>"; }
    location /api/ { proxy_pass ${upstream}; proxy_set_header X-Forwarded-For $remote_addr; ${host} } }`)
}

test('the table has four rows', () => expect(recipes).toHaveLength(4))

test.each(recipes)(
  'a page behind %s is refused until psys-kill is told what the README says',
  async (front, options) => {
    const port = await freePort()
    const name = front.startsWith('`rewrites`') ? 'localhost' : 'tools.example'
    const origin = `${front.startsWith('TLS') ? 'https' : 'http'}://${name}:${port}`
    // In the table the ports are the usual ones.
    const settings = options.map((option) => (/^https?:/.test(option) ? origin : option))
    using target = startSleeper()

    /** What the page gets from a server with these options, and the record of it. */
    const ask = async (args: readonly string[]) => {
      await using server = await startServer({ args: ['--port', '0', ...args] })
      await using _front = await startFront(front, port, server.url)
      await page.goto(origin)
      const { status, text, reason, id } = await postFrom(page, KILL, { pid: target.pid })
      return { answer: `${status} ${text} ${reason}`, record: await server.record((record) => record['id'] === id) }
    }

    const stranger = await ask([])
    expect(stranger.answer).toMatch(/^403 \{"error":"(Proxy not allowed"\} proxy|Host not allowed"\} host)$/)
    const detail = expect.stringMatching(/^(x-forwarded-(for|host)|"tools\.example")$/)
    expect(stranger.record).toMatchObject({ detail })
    const foreign = await ask(settings.slice(0, settings.indexOf('--allow-origin')))
    expect(foreign.answer).toBe('403 {"error":"Origin not allowed"} origin')
    expect(foreign.record).toMatchObject({ detail: `"${origin}"` })
    expect(target.isAlive()).toBe(true)
    const allowed = await ask(settings)
    expect(allowed.answer).toBe('200 {"ok":true} null')
    expect(allowed.record).toHaveProperty('forwarded')
    expect(await target.ended).toBe('SIGTERM')
  },
)
