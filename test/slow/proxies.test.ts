import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { authority } from '../support/certificates.ts'
import { emptyFolder } from '../support/folder.ts'
import { freePort } from '../support/free-port.ts'
import { missingForNginx, startNginx } from '../support/nginx.ts'
import { startSleeper } from '../support/processes.ts'
import { type RunningServer, startServer } from '../support/server.ts'

const CHROMIUM = '/usr/bin/chromium'
const PAGE = 'default_type text/html; location = / { return 200 "<title>tools</title>"; }'
const CLIENT = 'proxy_set_header X-Forwarded-For $remote_addr;'

beforeEach(({ skip }) => {
  skip(!existsSync(CHROMIUM), 'needs chromium')
  skip(missingForNginx.length > 0, `needs ${missingForNginx.join()}`)
})

const folder = emptyFolder()
let browser: Browser | undefined
beforeAll(async () => {
  if (!existsSync(CHROMIUM)) return
  const args = ['--no-sandbox', '--host-resolver-rules=MAP tools.example 127.0.0.1', '--ignore-certificate-errors']
  browser = await chromium.launch({ executablePath: CHROMIUM, args })
})
afterAll(async () => {
  await browser?.close()
  folder[Symbol.dispose]()
})

/** As Next's rewrites do: it changes Host, and adds what a proxy adds. */
const startRewrites = async (port: number, upstream: string) => {
  const server = createServer((incoming, outgoing) => {
    if (incoming.url === '/') return outgoing.setHeader('content-type', 'text/html').end('<title>tools</title>')
    const { host } = new URL(upstream)
    const headers = { ...incoming.headers, host, 'x-forwarded-host': incoming.headers.host, 'x-forwarded-for': '::1' }
    const passed = request(upstream + incoming.url, { method: incoming.method, headers }, (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers)
      response.pipe(outgoing)
    })
    return incoming.pipe(passed)
  }).listen(port, '127.0.0.1')
  await once(server, 'listening')
  return {
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
    },
  }
}

/** The rows of the README's table, by what is in front: what they tell psys-kill. */
const recipes = new Map(
  [
    ...readFileSync(new URL('../../README.md', import.meta.url), 'utf8').matchAll(/^\| (.+) \| `(--allow-.+)` \|$/gm),
  ].map(([, front = '', settings = '']) => [front, settings.split(' ')]),
)

const front = async (name: string, port: number, upstream: string) => {
  const tools = `listen 127.0.0.1:${port}; server_name tools.example; ${PAGE}`
  const pass = `proxy_pass ${upstream}; ${CLIENT}`
  if (name.startsWith('`rewrites`')) return startRewrites(port, upstream)
  if (name === 'nginx, `proxy_pass` alone') return startNginx(`server { ${tools} location /api/ { ${pass} } }`)
  const named = `location /api/ { ${pass} proxy_set_header Host $host; }`
  if (!name.startsWith('TLS')) return startNginx(`server { ${tools} ${named} }`)
  const { certFile, keyFile } = authority(folder, 'web').issue('tools', { alternative: 'DNS:tools.example' })
  const tls = `listen 127.0.0.1:${port} ssl; server_name tools.example; ssl_certificate ${certFile}; ssl_certificate_key ${keyFile};`
  return startNginx(`server { ${tls} ${PAGE} ${named} }`)
}

describe.each([...recipes.keys()])('a page behind %s', (name) => {
  /** Opens the page and lets it ask for a kill as its own. */
  const askFrom = async (url: string, pid: number) => {
    const page = await browser?.newPage()
    await page?.goto(url)
    const answer = await page?.evaluate(
      async ([path, body]) => {
        const headers = { 'content-type': 'application/json' }
        const response = await fetch(path, { method: 'POST', headers, body })
        return `${response.status} ${await response.text()}`
      },
      [KILL_PATH, JSON.stringify({ pid })] as const,
    )
    await page?.close()
    return answer
  }

  test('is refused until psys-kill is told what the README says', async () => {
    const port = await freePort()
    const isTls = name.startsWith('TLS')
    const isNext = name.startsWith('`rewrites`')
    const origin = `${isTls ? 'https' : 'http'}://${isNext ? 'localhost' : 'tools.example'}:${port}`
    // In the table the ports are the usual ones.
    const settings = (recipes.get(name) ?? []).map((each) => (/^https?:/.test(each) ? origin : each))
    const ask = async (args: readonly string[], run: (server: RunningServer) => Promise<void>) => {
      await using server = await startServer({ args: ['--port', '0', ...args] })
      await using _front = await front(name, port, server.url)
      await run(server)
    }
    using target = startSleeper()
    const last = ({ records }: RunningServer) => records.at(-1)

    await ask([], async (server) => {
      expect(await askFrom(origin, target.pid)).toMatch(/^403 .*(Proxy|Host) not allowed/)
      expect(last(server)?.['reason']).toMatch(/^x-forwarded-(for|host)$|^host "tools\.example"$/)
    })
    const [proxy = '', ...others] = settings
    const hosts = others.slice(0, others.indexOf('--allow-origin'))
    await ask([proxy, ...hosts], async (server) => {
      expect(await askFrom(origin, target.pid)).toBe('403 {"error":"Origin not allowed"}')
      expect(last(server)?.['reason']).toBe(`origin "${origin}"`)
    })
    expect(target.isAlive()).toBe(true)
    await ask(settings, async (server) => {
      expect(await askFrom(origin, target.pid)).toBe('200 {"ok":true}')
      expect(await server.record(({ outcome }) => outcome === 'sent')).toHaveProperty('forwarded')
    })
    expect(await target.ended).toBe('SIGTERM')
  })
})

test('the table has the four', () => expect(recipes.size).toBe(4))
