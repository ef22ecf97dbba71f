import { readFileSync } from 'node:fs'
import type { Browser, Page } from 'playwright-core'
import { beforeAll, describe, expect, test } from 'vitest'
import { blocksOf } from '../support/markdown.ts'
import { startPeer } from '../support/peer.ts'
import { KILL } from '../support/post.ts'
import { startSleeper, startTarget, type Target } from '../support/processes.ts'
import { type RunningServer, startServer, TOKEN } from '../support/server.ts'
import { hasChromium, postFrom, startChromium } from './chromium.ts'

type Prey = { url: string; pid: number }

/** Each runs in a page, and resolves when it has tried everything. What the browser forbids is no error. */
const ATTACKS: Record<string, (prey: Prey) => Promise<unknown>> = {
  'fetch with every content type and mode': async ({ url, pid }) => {
    const body = JSON.stringify({ pid })
    const forms = ['application/x-www-form-urlencoded', 'multipart/form-data; boundary=x']
    for (const mode of ['cors', 'no-cors', 'same-origin'] as const)
      for (const credentials of ['omit', 'include'] as const)
        for (const type of ['', 'application/json', 'text/plain', ...forms]) {
          const headers: Record<string, string> = type ? { 'content-type': type } : {}
          await fetch(url, { method: 'POST', mode, credentials, headers, body }).catch(() => {})
        }
    // As sendBeacon does.
    for (const other of [new Blob([body]), new URLSearchParams({ pid: String(pid) })])
      await fetch(url, { method: 'POST', mode: 'no-cors', body: other, keepalive: true }).catch(() => {})
  },
  'a form': async ({ url, pid }) => {
    for (const enctype of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
      const frame = Object.assign(document.createElement('iframe'), { name: enctype })
      const form = document.createElement('form')
      Object.assign(form, { method: 'POST', action: url, enctype, target: enctype })
      // As text/plain this is valid JSON: {"pid":1234,"comment":"="}
      form.append(Object.assign(document.createElement('input'), { name: `{"pid":${pid},"comment":"`, value: '"}' }))
      document.body.append(frame, form)
      await new Promise((loaded) => {
        frame.onload = loaded
        form.submit()
      })
    }
  },
  'a sandboxed frame': ({ url, pid }) => {
    const frame = Object.assign(document.createElement('iframe'), { sandbox: 'allow-scripts' })
    frame.srcdoc = `<script>
      const send = (mode, type) =>
        fetch(${JSON.stringify(url)}, { method: 'POST', mode, headers: { 'content-type': type }, body: '{"pid":${pid}}' }).catch(() => {})
      Promise.all([send('no-cors', 'text/plain'), send('cors', 'application/json')]).then(() => parent.postMessage('done', '*'))
    </script>`
    return new Promise((done) => {
      window.onmessage = done
      document.body.append(frame)
    })
  },
}

const servePage = (html = () => '<!doctype html><title>A page</title><body></body>') =>
  startPeer((_request, response) => response.setHeader('content-type', 'text/html').end(html()))
const portOf = ({ url }: { url: string }) => new URL(url).port

describe.skipIf(!hasChromium)(`in Chromium${hasChromium ? '' : ' (needs chromium)'}`, () => {
  let browser: Browser
  let page: Page
  let port: string
  const pending = new Set<unknown>()

  beforeAll(async () => {
    browser = await startChromium()
    page = await browser.newPage()
    page.on('request', (request) => pending.add(request))
    page.on('requestfinished', (request) => pending.delete(request))
    page.on('requestfailed', (request) => pending.delete(request))
    const site = await servePage()
    port = portOf(site)
    return async () => {
      await browser.close()
      site[Symbol.dispose]()
    }
  })
  const postAt = async (origin: string, url: string, body: object, init?: RequestInit) => {
    await page.goto(origin)
    return postFrom(page, url, body, init)
  }
  const startAllowing = (origin: string, env = {}) =>
    startServer({ env: { ...env, PSYS_KILL_ALLOW_ORIGIN: `https://other.example,${origin}` } })

  describe.each([
    ['another site', 'evil.example', '127.0.0.1'],
    ['another port of localhost', 'localhost', 'localhost'],
    ['another port of 127.0.0.1', '127.0.0.1', '127.0.0.1'],
    ['localhost, to 127.0.0.1,', 'localhost', '127.0.0.1'],
    ['another site, by a name that it points to this machine,', 'evil.example', 'rebound.example'],
  ])('a page on %s', (_title, from, to) => {
    let server: RunningServer
    let canary: Target
    let prey: Prey
    beforeAll(async () => {
      server = await startServer()
      canary = startSleeper()
      prey = { url: `http://${to}:${portOf(server)}${KILL}`, pid: canary.pid }
      return async () => {
        // It was within reach all the time.
        expect(await server.kill({ pid: canary.pid })).toMatchObject({ status: 200 })
        expect(await canary.ended).toBe('SIGTERM')
        await server.stop()
      }
    })

    test.each(Object.entries(ATTACKS))('cannot kill with %s', async (_name, attack) => {
      const before = server.records.length
      await page.goto(`http://${from}:${port}/`)
      await page.evaluate(attack, prey)
      await expect.poll(() => pending.size).toBe(0)
      const marker = (await server.kill({})).headers.get('x-request-id')
      await server.record(({ id }) => id === marker)
      const records = server.records.slice(before).filter(({ id }) => id !== marker)
      expect(records.length).toBeGreaterThan(0)
      for (const { method, outcome, status } of records)
        expect([outcome, status]).toEqual(['refused', method === 'GET' && status === 405 ? 405 : 403])
      expect(canary.isAlive()).toBe(true)
    })

    test('cannot read the answer, nor kill by going there', async () => {
      await expect(postAt(`http://${from}:${port}/`, prey.url, {})).rejects.toThrow('TypeError')
      await Promise.all([page.waitForURL(prey.url), page.evaluate(({ url }) => location.assign(url), prey)])
      expect(await page.textContent('body')).toMatch(/not allowed/i)
      expect(canary.isAlive()).toBe(true)
    })
  })

  test('DNS rebinding does not make a page the same origin', async () => {
    using canary = startSleeper()
    const attacker = await servePage()
    await page.goto(`http://evil.example:${portOf(attacker)}/`)
    attacker[Symbol.dispose]()
    // Now another server has this name and port.
    await using server = await startServer({ env: { PORT: portOf(attacker) }, args: [] })
    expect(await postFrom(page, KILL, { pid: canary.pid })).toMatchObject({ status: 403, reason: 'host' })
    expect(await server.kill({ pid: canary.pid })).toMatchObject({ status: 200 })
  })

  test('a page of an allowed origin, with the token, looks, kills, and reads the answers and their reasons', async () => {
    const origin = `http://tools.example:${port}`
    await using server = await startAllowing(origin, { PSYS_KILL_TOKEN: TOKEN })
    using target = startSleeper()
    const { pid } = target
    const headers = { authorization: `Bearer ${TOKEN}` }
    const ask = (body: object, init: RequestInit = { headers }, from = origin) =>
      postAt(from, server.url + KILL, body, init)
    await expect(ask({ pid }, { headers }, `http://evil.example:${port}`)).rejects.toThrow('TypeError')
    await expect(ask({ pid }, { headers, credentials: 'include' })).rejects.toThrow('TypeError')
    expect(await ask({ pid }, {})).toMatchObject({ status: 401, reason: 'token missing' })
    const wrong = { authorization: `${headers.authorization}x` }
    expect(await ask({ pid }, { headers: wrong })).toMatchObject({ status: 401, reason: 'token unknown' })
    const look = await ask({ pid, dryRun: true })
    expect(JSON.parse(look.text)).toMatchObject({ ok: true, dryRun: true, process: { command: 'sleep' } })
    expect(await ask({ pid, command: 'x' })).toMatchObject({ status: 404, reason: 'other command' })
    expect(target.isAlive()).toBe(true)
    const { id, ...answer } = await ask({ pid })
    expect(answer).toEqual({ status: 200, text: '{"ok":true}', reason: null })
    expect(await server.record((record) => record['id'] === id)).toMatchObject({ pid, outcome: 'sent' })
  })

  describe("the README's page", () => {
    const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
    const [block] = blocksOf(readme).filter(({ language }) => language === 'html')
    const API = 'http://127.0.0.1:3000'

    test.each<[what: string, script: string, answers: boolean, result: string]>([
      ['kills what the person confirms', '', true, 'It has exited'],
      ['tells that a process ignores the signal', "process.on('SIGTERM', () => {})", true, 'It is still running'],
      ['kills nothing that is not confirmed', '', false, 'Not killed'],
    ])('%s', async (_what, script, isConfirmed, result) => {
      expect(block?.text).toContain(API)
      using target = await startTarget(script)
      using site = await servePage(() => block?.text.replace(API, server.url) ?? '')
      const origin = `http://tools.example:${portOf(site)}`
      await using server = await startAllowing(origin)
      const questions: string[] = []
      page.once('dialog', (dialog) => {
        questions.push(dialog.message())
        return isConfirmed ? dialog.accept() : dialog.dismiss()
      })
      await page.goto(origin)
      const expectResult = async (pid: string, result: string) => {
        await page.fill('#pid', pid)
        await page.click('#kill')
        await expect.poll(() => page.textContent('#result')).toBe(result)
      }
      await expectResult(`${target.pid}`, result)
      expect(questions).toEqual([expect.stringMatching(`^Kill node \\(${target.pid}\\), started at 20..-`)])
      if (result === 'It has exited') expect(await target.ended).toBe('SIGTERM')
      else expect(target.isAlive()).toBe(true)
      await expectResult('12abc', 'Invalid pid')
    })
  })
})
