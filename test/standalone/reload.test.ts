import { writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { startSleeper } from '../support/processes.ts'
import { killRequest, openRaw } from '../support/raw.ts'
import { startServer } from '../support/server.ts'
import { TOKEN } from '../support/settings.ts'

const as = (token: string) => ({ authorization: `Bearer ${token}` })
const ALICE = `${TOKEN}-of-alice`
const BOB = `${TOKEN}-of-bob`

const startWith = async (lines: string) => {
  const folder = emptyFolder()
  const file = folder.file('tokens')
  const write = (text: string) => writeFileSync(file, text, { mode: 0o600 })
  write(lines)
  const server = await startServer({ args: ['--port', '0', '--token-file', file] })
  /** Writes other tokens, and resolves when the server says what came of them. */
  const reload = async (text: string) => {
    write(text)
    const from = server.stdout().length
    server.child.kill('SIGHUP')
    await server.says(/"message":"(not )?reloaded/, from)
    return server.stdout().slice(from)
  }
  return {
    server,
    reload,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    },
  }
}

describe('tokens with names', () => {
  test('say in the record who killed, and never the token', async () => {
    await using started = await startWith(`# who may kill\n\nalice:${ALICE}\r\n bob:${BOB}\n${TOKEN}\n`)
    const { server } = started
    for (const [token, by] of [[ALICE, 'alice'], [BOB, 'bob'], [TOKEN]] as const) {
      using target = startSleeper()
      expect(await server.kill({ pid: target.pid }, as(token))).toMatchObject({ status: 200 })
      const record = await server.record(({ pid }) => pid === target.pid)
      expect(record['by']).toBe(by)
      expect(await target.ended).toBe('SIGTERM')
    }
    for (const token of ['alice', `alice:${ALICE}`, `${ALICE}x`, 'bob:'])
      expect(await server.kill({}, as(token))).toMatchObject({ status: 401 })
    expect(server.stdout() + server.stderr()).not.toContain(TOKEN)
  })

  test('are read again on SIGHUP: one that is gone is out at once, also on a connection that is open', async () => {
    await using started = await startWith(`alice:${ALICE}\nbob:${BOB}\n`)
    const { server, reload } = started
    using canary = startSleeper()
    expect(await server.kill({}, as(ALICE))).toMatchObject({ status: 400 })
    expect(await reload(`bob:${BOB}\n`)).toContain('"message":"reloaded"')
    expect(await server.kill({ pid: canary.pid }, as(ALICE))).toMatchObject({ status: 401 })
    expect(await server.kill({}, as(BOB))).toMatchObject({ status: 400 })
    expect(canary.isAlive()).toBe(true)
  })

  test('and a request that was begun before with one that is gone cannot be finished after it', async () => {
    await using started = await startWith(`alice:${ALICE}\n`)
    const { server, reload } = started
    using canary = startSleeper()
    using connection = await openRaw(server.url)
    const request = killRequest(JSON.stringify({ pid: canary.pid }), as(ALICE))
    connection.socket.write(request.subarray(0, -3))
    expect(await server.kill({}, as(ALICE))).toMatchObject({ status: 400 })
    await reload(`bob:${BOB}\n`)
    connection.socket.write(request.subarray(-3))
    expect(await connection.closed).toBe('')
    expect(canary.isAlive()).toBe(true)
  })

  test.each(['', '# nobody\n', 'short\n', `alice:${ALICE}\nalice:${BOB}\n`])(
    'that are wrong when they are read again, such as %j, leave the old ones in force',
    async (text) => {
      await using started = await startWith(`alice:${ALICE}\n`)
      const { server, reload } = started
      const said = await reload(text)
      expect(said).toMatch(/"message":"not reloaded: The token /)
      expect(said).not.toContain(TOKEN)
      expect(await server.kill({}, as(ALICE))).toMatchObject({ status: 400 })
      expect(await server.kill({}, as(BOB))).toMatchObject({ status: 401 })
    },
  )

  test('are read again under load without a failed request', async () => {
    await using started = await startWith(`alice:${ALICE}\n`)
    const { server, reload } = started
    let asking = true
    let answers = 0
    const ask = async () => {
      for (; asking; answers++) expect(await server.kill({}, as(ALICE))).toMatchObject({ status: 400 })
    }
    const callers = Array.from({ length: 16 }, ask)
    for (let times = 0; times < 3; times++) await reload(`alice:${ALICE}\nbob:${BOB}${times}\n`)
    asking = false
    await Promise.all(callers)
    expect(answers).toBeGreaterThan(50)
  })
})

test('without a file to read again, SIGHUP stops the server, as the terminal that closed expects', async () => {
  await using server = await startServer()
  const ended = new Promise((resolve) => server.child.once('exit', resolve))
  server.child.kill('SIGHUP')
  expect(await ended).toBe(0)
  expect(server.stdout()).toContain('"message":"stopping on SIGHUP"')
})
