import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { KILL_PATH } from '../../src/app/answers.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { startTarget, type Target } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

const EXECUTABLE = '/usr/bin/chromium'
const hasChromium = existsSync(EXECUTABLE)

interface Prey {
  url: string
  pid: number
}

/** Each runs in a page and resolves when it has done what it can; what the browser forbids it swallows. */
const ATTACKS: Record<string, (prey: Prey) => Promise<void>> = {
  'fetch with every content type and mode': async ({ url, pid }) => {
    const body = JSON.stringify({ pid })
    const types = [
      '',
      'application/json',
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
    ]
    for (const mode of ['cors', 'no-cors', 'same-origin'] as const)
      for (const credentials of ['omit', 'include'] as const)
        for (const type of types) {
          const headers: Record<string, string> = type ? { 'content-type': type } : {}
          await fetch(url, { method: 'POST', mode, credentials, headers, body }).catch(() => {})
        }
    await fetch(url, { method: 'POST', mode: 'no-cors', body: new Blob([body]), keepalive: true }).catch(() => {})
    await fetch(url, { method: 'POST', mode: 'no-cors', body: new URLSearchParams({ pid: String(pid) }) }).catch(
      () => {},
    )
    await fetch(`${url}?pid=${pid}`, { mode: 'no-cors' }).catch(() => {})
  },
  XMLHttpRequest: async ({ url, pid }) => {
    for (const type of ['text/plain', 'application/json'])
      await new Promise((done) => {
        const request = new XMLHttpRequest()
        request.open('POST', url)
        request.setRequestHeader('content-type', type)
        request.onloadend = done
        request.send(JSON.stringify({ pid }))
      })
  },
  sendBeacon: async ({ url, pid }) => {
    const body = JSON.stringify({ pid })
    navigator.sendBeacon(url, body)
    navigator.sendBeacon(url, new URLSearchParams({ pid: String(pid) }))
    for (const type of ['text/plain', 'application/json']) {
      try {
        navigator.sendBeacon(url, new Blob([body], { type }))
      } catch {}
    }
  },
  'a form': async ({ url, pid }) => {
    for (const enctype of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
      const frame = document.createElement('iframe')
      frame.name = enctype
      const form = document.createElement('form')
      Object.assign(form, { method: 'POST', action: url, enctype, target: enctype })
      const input = document.createElement('input')
      // As text/plain this is valid JSON: {"pid":1234,"x":"="}
      Object.assign(input, { name: `{"pid":${pid},"x":"`, value: '"}' })
      form.append(input)
      document.body.append(frame, form)
      await new Promise((loaded) => {
        frame.onload = loaded
        form.submit()
      })
    }
  },
  'an image, a script, a style sheet and a frame': async ({ url, pid }) => {
    const load = (element: HTMLElement) =>
      new Promise((done) => {
        element.onload = done
        element.onerror = done
        document.body.append(element)
      })
    const src = `${url}?pid=${pid}`
    await load(Object.assign(document.createElement('img'), { src }))
    await load(Object.assign(document.createElement('script'), { src }))
    await load(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: src }))
    await load(Object.assign(document.createElement('iframe'), { src }))
  },
  'a sandboxed frame': async ({ url, pid }) => {
    const frame = Object.assign(document.createElement('iframe'), { sandbox: 'allow-scripts' })
    frame.srcdoc = `<script>
      const send = (mode, type) =>
        fetch(${JSON.stringify(url)}, { method: 'POST', mode, headers: { 'content-type': type }, body: '{"pid":${pid}}' }).catch(() => {})
      Promise.all([send('no-cors', 'text/plain'), send('cors', 'application/json')]).then(() => parent.postMessage('done', '*'))
    </script>`
    await new Promise((done) => {
      window.onmessage = done
      document.body.append(frame)
    })
  },
  'a WebSocket and an EventSource': async ({ url }) => {
    await new Promise((done) => {
      new WebSocket(url.replace('http', 'ws')).onerror = done
    })
    await new Promise((done) => {
      const source = new EventSource(url)
      source.onerror = () => done(source.close())
    })
  },
}

/** Serves an empty page on a port of its own. */
const servePages = async () => {
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html').end('<!doctype html><title>A page</title><body></body>')
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    port: String(typeof address === 'object' && address?.port),
    [Symbol.dispose]: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

describe.skipIf(!hasChromium)(`in Chromium${hasChromium ? '' : ` (needs ${EXECUTABLE})`}`, () => {
  let browser: Browser
  let page: Page
  let pages: Disposable & { port: string }
  const pending = new Set<unknown>()

  beforeAll(async () => {
    browser = await chromium.launch({
      executablePath: EXECUTABLE,
      args: [
        ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
        ...['--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP *.example 127.0.0.1'],
      ],
    })
    page = await browser.newPage()
    page.on('request', (request) => pending.add(request))
    page.on('requestfinished', (request) => pending.delete(request))
    page.on('requestfailed', (request) => pending.delete(request))
    pages = await servePages()
  })
  afterAll(async () => {
    await browser?.close()
    pages?.[Symbol.dispose]()
  })

  const settled = () => expect.poll(() => pending.size).toBe(0)

  describe.each([
    ['another site, over plain HTTP', 'evil.example', '127.0.0.1'],
    ['another port of localhost', 'localhost', 'localhost'],
    ['another port of 127.0.0.1', '127.0.0.1', '127.0.0.1'],
    ['localhost, to 127.0.0.1', 'localhost', '127.0.0.1'],
    ['another site, by a name that it points to this machine', 'evil.example', 'rebound.example'],
  ])('a page on %s', (_title, from, to) => {
    let server: RunningServer
    let canary: Target
    let prey: Prey
    beforeAll(async () => {
      server = await startServer()
      canary = await startTarget()
      prey = { url: `http://${to}:${new URL(server.url).port}${KILL_PATH}`, pid: canary.pid }
    })
    afterAll(async () => {
      canary[Symbol.dispose]()
      await server[Symbol.asyncDispose]()
    })

    test.each(Object.keys(ATTACKS))('cannot kill with %s', async (name) => {
      const before = server.records.length
      await page.goto(`http://${from}:${pages.port}/`)
      await page.evaluate(ATTACKS[name] ?? expect.unreachable(), prey)
      await settled()
      const marker = (await server.kill({})).headers.get('x-request-id')
      await server.record(({ id }) => id === marker)
      const records = server.records.slice(before).filter(({ id }) => id !== marker)
      expect(records.length).toBeGreaterThan(0)
      for (const { method, outcome, status } of records)
        expect([outcome, status]).toEqual(['refused', method === 'GET' && status === 405 ? 405 : 403])
      expect(canary.isAlive()).toBe(true)
    })

    test('cannot kill by going there, and cannot read what it is told', async () => {
      await page.goto(`http://${from}:${pages.port}/`)
      const read = await page.evaluate(
        ({ url }) =>
          fetch(url, { method: 'POST' })
            .then((response) => response.text())
            .catch((error) => String(error)),
        prey,
      )
      expect(read).toContain('TypeError')
      await Promise.all([page.waitForURL(prey.url), page.evaluate(({ url }) => location.assign(url), prey)])
      expect(await page.textContent('body')).toMatch(/not allowed/i)
      expect(canary.isAlive()).toBe(true)
    })

    test('and the canary was within reach all the time', async () => {
      expect(await server.kill({ pid: canary.pid })).toMatchObject({ status: 200 })
      expect(await canary.ended).toBe('SIGTERM')
    })
  })

  test('DNS rebinding does not make a page the same origin', async () => {
    using canary = await startTarget()
    let port: string
    {
      using attacker = await servePages()
      port = attacker.port
      await page.goto(`http://evil.example:${port}/`)
    }
    // Under the same name and port there is another server now.
    await using server = await startServer({ args: ['--port', port] })
    const answer = await page.evaluate(
      async ({ path, pid }) => {
        const headers = { 'content-type': 'application/json' }
        const response = await fetch(path, { method: 'POST', headers, body: JSON.stringify({ pid }) })
        return { status: response.status, text: await response.text() }
      },
      { path: KILL_PATH, pid: canary.pid },
    )
    expect(answer).toEqual({ status: 403, text: '{"error":"Host not allowed"}' })
    expect(canary.isAlive()).toBe(true)
    expect(await server.kill({ pid: canary.pid })).toMatchObject({ status: 200 })
  })

  /** What a page gets that calls as the README says. */
  const callFrom = (
    origin: string,
    prey: Prey,
    headers: Record<string, string> = {},
    credentials: RequestCredentials = 'omit',
    dryRun = false,
  ) =>
    page.goto(origin).then(() =>
      page.evaluate(
        async ({ url, pid, headers, credentials, dryRun }) => {
          try {
            const init = { method: 'POST', credentials, body: JSON.stringify({ pid, dryRun }) }
            const response = await fetch(url, { ...init, headers: { 'content-type': 'application/json', ...headers } })
            return { status: response.status, text: await response.text(), id: response.headers.get('x-request-id') }
          } catch (error) {
            return String(error)
          }
        },
        { ...prey, headers, credentials, dryRun },
      ),
    )

  test('a page on an allowed origin kills, and reads the answer', async () => {
    const origin = `http://tools.example:${pages.port}`
    await using server = await startServer({
      args: ['--port', '0', '--allow-origin', `https://other.example,${origin}`],
    })
    using target = await startTarget()
    const prey = { url: server.url + KILL_PATH, pid: target.pid }
    expect(await callFrom(`http://evil.example:${pages.port}`, prey)).toContain('TypeError')
    expect(await callFrom(origin, prey, {}, 'include')).toContain('TypeError')
    expect(target.isAlive()).toBe(true)
    const look = await callFrom(origin, prey, {}, 'omit', true)
    expect(look).toMatchObject({ status: 200, text: expect.stringMatching(/^\{"ok":true,"dryRun":true,"process":/) })
    expect(target.isAlive()).toBe(true)
    const answer = await callFrom(origin, prey)
    expect(answer).toMatchObject({ status: 200, text: '{"ok":true}' })
    expect(await target.ended).toBe('SIGTERM')
    const record = await server.record(({ pid, outcome }) => pid === target.pid && outcome === 'sent')
    expect(answer).toMatchObject({ id: record['id'] })
  })

  test('and where there is a token, only with that', async () => {
    const origin = `http://localhost:${pages.port}`
    await using server = await startServer({
      args: ['--port', '0', '--allow-origin', origin],
      env: { PSYS_KILL_TOKEN: TOKEN },
    })
    using target = await startTarget()
    const prey = { url: server.url + KILL_PATH, pid: target.pid }
    expect(await callFrom(origin, prey)).toMatchObject({ status: 401, text: '{"error":"Unauthorized"}' })
    expect(await callFrom(origin, prey, { authorization: `Bearer ${TOKEN}x` })).toMatchObject({ status: 401 })
    expect(await callFrom(`http://127.0.0.1:${pages.port}`, prey, { authorization: `Bearer ${TOKEN}` })).toContain(
      'TypeError',
    )
    expect(target.isAlive()).toBe(true)
    expect(await callFrom(origin, prey, { authorization: `Bearer ${TOKEN}` })).toMatchObject({ status: 200 })
    expect(await target.ended).toBe('SIGTERM')
  })
})
