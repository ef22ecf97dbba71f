import { existsSync } from 'node:fs'
import { chromium, type Page } from 'playwright-core'

const EXECUTABLE = '/usr/bin/chromium'
export const hasChromium = existsSync(EXECUTABLE)

/** Starts a browser for which all names of `.example` are this machine. */
export const startChromium = () =>
  chromium.launch({
    executablePath: EXECUTABLE,
    args: [
      ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
      ...['--disable-component-update', '--disable-sync', '--ignore-certificate-errors'],
      '--host-resolver-rules=MAP *.example 127.0.0.1',
    ],
  })

/** Lets a page POST some JSON. Rejects if the browser does not let it read the answer. */
export const postFrom = (page: Page, url: string, body: object, init: RequestInit = {}) =>
  page.evaluate(
    async ([url, body, init]) => {
      const headers = { 'content-type': 'application/json', ...init.headers }
      const response = await fetch(url, { method: 'POST', credentials: 'omit', ...init, body, headers })
      const [id, reason] = ['x-request-id', 'psys-kill-reason'].map((name) => response.headers.get(name))
      return { status: response.status, text: await response.text(), id, reason }
    },
    [url, JSON.stringify(body), init] as const,
  )
