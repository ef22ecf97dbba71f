import { createHash } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

// What no client sees for certain, a script that is loaded before the built file tells.

const startWith = async (script: string, env = {}) => {
  const folder = emptyFolder()
  writeFileSync(folder.file('before.cjs'), script)
  const command = [process.execPath, '--require', folder.file('before.cjs'), BUILT_FILE]
  const server = await startServer({ command, env })
  return {
    ...server,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    },
  }
}

describe('inside the built file', () => {
  test('the time limits are those of the README, and looked after every second', async () => {
    await using server = await startWith(`
      const http = require('node:http')
      const { createServer } = http
      http.createServer = (options) => {
        const server = createServer(options)
        server.on('listening', () => {
          const { headersTimeout, requestTimeout, keepAliveTimeout } = server
          const interval = options.connectionsCheckingInterval
          console.error(JSON.stringify([headersTimeout, requestTimeout, keepAliveTimeout, interval]))
        })
        return server
      }`)
    const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')
    const [, head, whole, idle] =
      /(\d+) seconds to send the head of a request and (\d+) for all of it; idle connections are closed after (\d+)/.exec(
        readme,
      ) ?? []
    await expect.poll(server.stderr).toContain(JSON.stringify([head, whole, idle, 1].map((s) => Number(s) * 1000)))
  })

  test('a token is looked up by all of its SHA-256', async () => {
    const digest = createHash('sha256').update(`${TOKEN}x`).digest('hex')
    await using server = await startWith(
      `
      const { get } = Map.prototype
      Map.prototype.get = function (key) {
        if (key === '${digest}') console.error('looked up')
        return get.call(this, key)
      }`,
      { PSYS_KILL_TOKEN: TOKEN },
    )
    expect(await server.kill({}, { authorization: `Bearer ${TOKEN}x` })).toMatchObject({ status: 401 })
    await expect.poll(server.stderr).toContain('looked up')
  })

  test('a kill loads neither fetch nor HTTP/2; what loads them changes no answer', async () => {
    await using server = await startWith(`
      process.on('SIGUSR2', () => {
        const loaded = (module) => process.moduleLoadList.includes('NativeModule internal/' + module)
        console.error(JSON.stringify([loaded('deps/undici/undici'), loaded('http2/core')]))
      })`)
    using target = await startTarget('process.on("SIGTERM", () => {})')
    const kill = async () => {
      const { status, text, headers } = await server.kill({ pid: target.pid })
      return [status, text, [...headers.keys()].sort()]
    }
    const before = await kill()
    expect(before.slice(0, 2)).toEqual([200, '{"ok":true}'])
    server.child.kill('SIGUSR2')
    await expect.poll(server.stderr).toContain('[false,false]')
    expect(await (await fetch(`${server.url}/healthz`)).text()).toBe('{"ok":true}')
    server.child.kill('SIGUSR2')
    await expect.poll(server.stderr).toContain('[true,')
    expect(await kill()).toEqual(before)
  })
})
