import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { transform } from 'esbuild'
import { Hono } from 'hono'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { answers, REASONS, serverAnswers } from '../../src/app/contract.ts'
import { HELP } from '../../src/standalone/options.ts'
import { emptyFolder } from '../support/folder.ts'
import { freePort } from '../support/listening.ts'
import { type Block, blocksOf, fragmentsOf, linksOf } from '../support/markdown.ts'
import { needsLinux } from '../support/needs.ts'
import { assertDocumented } from '../support/openapi.ts'
import { KILL } from '../support/post.ts'
import { startTarget } from '../support/processes.ts'
import { BUILT_FILE, type RunningServer, startServer } from '../support/server.ts'

// Runs each code block, in order. A comment directly above a block may say:
//   <!-- test: skip REASON -->  another suite runs it, or nothing can
//   <!-- test: kill PATH -->    run it; its service kills at this path
// A `text` block is what the block before must print, except digits and ids.
// In a block, 3000 is a server, $PID a process, and $TOKEN the server's token. A block that names PID must kill the
// process. A block that serves or exports an app is asked to kill it. A comment after console.log, or one that begins
// with { in a shell, is output that must appear; … stands for anything.

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const TOKEN = 'the-token-of-the-server'
const DOCUMENTS = ['README.md', 'wrangler-incompatible.md']
const readRoot = (name: string) => readFileSync(join(ROOT, name), 'utf8')

const folder = emptyFolder()
let openServer: RunningServer
let tokenServer: RunningServer

beforeAll(async () => {
  openServer = await startServer()
  tokenServer = await startServer({ env: { PSYS_KILL_TOKEN: TOKEN } })
  symlinkSync(BUILT_FILE, folder.file('psys-kill.cjs'))
  symlinkSync(join(ROOT, 'build'), folder.file('build'))
  vi.stubEnv('TOKEN', TOKEN)
  mkdirSync(folder.file('node_modules'))
  symlinkSync(ROOT, folder.file('node_modules/psys-kill'))
  for (const name of ['hono', '@hono', '@types', 'undici-types'])
    symlinkSync(join(ROOT, 'node_modules', name), folder.file(`node_modules/${name}`))
  writeFileSync(folder.file('package.json'), '{"type":"module"}')
})
afterAll(async () => {
  await openServer[Symbol.asyncDispose]()
  await tokenServer[Symbol.asyncDispose]()
  folder[Symbol.dispose]()
})

const namesToken = ({ text }: Block) => /\bTOKEN\b/.test(text)

/** The text with ports that are free, or a server's. */
const localized = async (block: Block) => {
  const { port } = new URL((namesToken(block) ? tokenServer : openServer).url)
  const own = await freePort()
  const serves = /psys-kill\.cjs|port: /.test(block.text)
  const text = block.text
    .replace(/(--port |\bport: )\d+/g, `$1${own}`)
    .replace(/\/\/[\w.]+:3000\b/g, `//127.0.0.1:${port}`)
    .replace(/\b3000\b/g, port)
  return { text, url: serves ? `http://127.0.0.1:${own}` : undefined }
}

type Send = (path: string, init: RequestInit) => Response | Promise<Response>

/** Asks a service for a kill as a client of it would. */
const killThrough = async (block: Block, send: Send, pid: number) => {
  const [, token = TOKEN] = /(?:requireToken\((?:\{ \w+: )?|\btoken: )'([^']+)'/.exec(block.text) ?? []
  const path = /^kill (\S+)$/.exec(block.directive)?.[1] ?? KILL
  const headers = { 'content-type': 'application/json', host: 'localhost', authorization: `Bearer ${token}` }
  const response = await send(path, { method: 'POST', headers, body: JSON.stringify({ pid }) })
  const text = await response.text()
  expect([response.status, text]).toEqual([200, '{"ok":true}'])
  assertDocumented(response.status, response.headers, text)
}

const childrenOf = (pid: number) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number)

/** Runs a command to its end, or, if it serves, until it has killed; resolves with its output. */
const run = async (block: Block, command: readonly string[], url: string | undefined) => {
  using target = await startTarget()
  const [file = '', ...args] = command
  const env = { PATH: process.env['PATH'], HOME: folder.path, PID: String(target.pid), TOKEN }
  const child = spawn(file, args, { cwd: folder.path, env, stdio: ['ignore', 'pipe', 'pipe'], timeout: 20_000 })
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk) => {
      output += chunk
    })
  const closed = once(child, 'close')
  if (url !== undefined) {
    await vi.waitFor(() => fetch(url), 15_000).catch(() => expect.unreachable(`Does not serve: ${output}`))
    await killThrough(block, (path, init) => fetch(url + path, init), target.pid)
    // A shell may have the server as its child, or have become the server.
    const servers = childrenOf(child.pid ?? 0)
    if (servers.length === 0) child.kill()
    for (const pid of servers) process.kill(pid)
  }
  const [code] = await closed
  if (url === undefined && code !== 0) throw new Error(`Exited with ${code}: ${output}`)
  if (url !== undefined || /\bPID\b/.test(block.text)) expect(await target.ended).toBe('SIGTERM')
  return output
}

const runShell = async (block: Block) => {
  const { text, url } = await localized(block)
  const output = await run(block, ['bash', '-euo', 'pipefail', '-c', text], url)
  for (const [, expected = ''] of text.matchAll(/#\s+(\{.*)$/gm))
    for (const part of expected.split('…')) expect(output).toContain(part)
}

/** What two sessions have in common: not the times, PIDs and ids. */
const withoutNumbers = (session: string) => session.replace(/"id":"[^"]+"/g, '"id":""').replace(/\d+(\.\d+)?/g, '0')

const runSession = async (block: Block, printed: string) => {
  const commands = block.text.replaceAll('3999', String(await freePort()))
  // Standard error has what bash tells of its jobs.
  const script = `exec 2>/dev/null\ntrap 'kill $(jobs -p)' EXIT\n${commands}`
  const output = await run({ ...block, text: '' }, ['bash', '-c', script], undefined)
  expect(withoutNumbers(output)).toBe(withoutNumbers(`${printed}\n`))
}

/** How to ask an app, or the handler of a route. Nothing else is asked. */
const sendersTo = (exported: unknown): Send[] => {
  if (exported instanceof Hono) return [exported.request]
  if (typeof exported !== 'function') return []
  return [(path, init) => exported(new Request(`http://localhost${path}`, init))]
}

const runTypeScript = async (block: Block) => {
  const { text, url } = await localized(block)
  const file = folder.file(`block-${block.line}.mjs`)
  writeFileSync(file, (await transform(text, { loader: 'ts', format: 'esm' })).code)
  const output = await run(block, [process.execPath, file], url)
  for (const [, expected] of text.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)) expect(output).toContain(expected)
  if (/^export /m.test(text)) {
    for (const send of Object.values(await import(file)).flatMap(sendersTo)) {
      using target = await startTarget()
      const log = vi.spyOn(console, 'log').mockReturnValue()
      await killThrough(block, send, target.pid)
      log.mockRestore()
      if (/nodeSignaller\(/.test(text)) expect(await target.ended).toBe('SIGTERM')
    }
  }
}

/** What the compiler says of these files, nothing where they are right. */
const problemsIn = async (sources: readonly (readonly [name: string, text: string])[]) => {
  for (const [name, text] of sources) writeFileSync(folder.file(name), text)
  const files = sources.map(([name]) => name)
  const strict = '--module nodenext --target es2023 --lib es2023,dom,dom.iterable --types node --strict --noEmit'
  const args = [...strict.split(' '), '--moduleDetection', 'force', ...files]
  return promisify(execFile)(join(ROOT, 'node_modules/.bin/tsc'), args, { cwd: folder.path }).then(
    () => '',
    ({ stdout }) => stdout,
  )
}

describe.each(DOCUMENTS)('%s', (name) => {
  const text = readRoot(name)
  const blocks = blocksOf(text)
  const named = blocks
    .filter(({ language }) => language !== 'text')
    .map((block) => [`${block.language} in line ${block.line}`, block] as const)

  test.for(named)('has a block that works: %s', async ([, block], { skip }) => {
    const { language, directive } = block
    const [, word, rest] = /^(\w+) (.+)$/.exec(directive) ?? []
    if (word === 'skip') return skip(rest)
    if (directive !== '' && word !== 'kill') throw new Error(`Unknown directive: ${directive}`)
    const next = blocks[blocks.indexOf(block) + 1]
    const printed = next?.language === 'text' ? next.text : undefined
    // What these show is told by /proc.
    if (printed !== undefined || /dryRun/.test(block.text)) needsLinux({ skip })
    if (printed !== undefined) return runSession(block, printed)
    const runBlock = { sh: runShell, ts: runTypeScript }[language]
    await (runBlock ?? expect.unreachable(`Unknown block: ${language}`))(block)
  })

  test('links to what is there', () => {
    for (const target of linksOf(text)) {
      if (/^https?:/.test(target)) continue
      const [path = '', fragment] = target.split('#')
      const file = join(ROOT, path === '' ? name : path)
      expect(existsSync(file), target).toBe(true)
      if (fragment !== undefined) expect(fragmentsOf(readFileSync(file, 'utf8'))).toContain(fragment)
    }
  })
})

const rowsLike = (pattern: RegExp) => Array.from(readRoot('README.md').matchAll(pattern), ([, ...cells]) => cells)
const wordsIn = (cell = '') => Array.from(cell.matchAll(/`([^`]+)`/g), ([, word]) => word)

test.each([
  [
    'answer',
    rowsLike(/^\|.*\| (\d{3}) \| (.*) \|$/gm).flatMap(([status, cell]) => wordsIn(cell).map((body) => [status, body])),
    Object.values({ ...answers, ...serverAnswers }).map(({ status, body }) => [`${status}`, JSON.stringify(body)]),
  ],
  [
    'reason',
    rowsLike(/^\| \d{3}(?:, \d{3})* \| (`[^|]+) \| [^|]+ \|$/gm).flatMap(([cell]) => wordsIn(cell)),
    [...REASONS],
  ],
  [
    'outcome',
    rowsLike(/^\| ((?:`[A-Za-z ]+`(?:, )?)+) \| [^|]+ \|$/gm).flatMap(([cell]) => wordsIn(cell)),
    // The record calls the other rows refused.
    [...Object.keys(answers).filter((code) => !/^(bad|unknown|too large)/.test(code)), 'forwarded', 'refused'],
  ],
  [
    'setting',
    rowsLike(/^\| `(--[a-z-]+)`[ *]* \| `([A-Z_]+)/gm),
    Array.from(HELP.matchAll(/^ {2}(--[a-z-]+) +([A-Z_]+) /gm), ([, ...names]) => names),
  ],
])('the tables of README.md have every %s and no other', (_what, listed, known) => {
  expect(listed.toSorted()).toEqual(known.toSorted())
})

describe('the examples in the source', () => {
  // What an example may take for granted.
  const PRELUDE = `
    import { Hono } from 'hono'
    import { createApp, KILL_PATH, remoteSignaller, type Signaller } from 'psys-kill'
    import { nodeSignaller } from 'psys-kill/node'
    import { accessLog, allowHosts, allowOrigins, allowProxy, createServerApp, requireToken } from 'psys-kill/server'
    const app = new Hono()
    const token = '${TOKEN}'`
  const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).map((file) => `src/${file}`)
  const files = ['build/openapi-parts.d.ts', ...sources].filter((file) => file.endsWith('.ts'))
  const examples = files.flatMap((file) => {
    const comments = readRoot(file).match(/\/\*\*.*?\*\//gs) ?? []
    const blocks = comments.flatMap((comment) => blocksOf(comment.replaceAll(/^ *\* ?/gm, '')))
    return blocks.map(({ text }, index) => {
      const code = /^import /m.test(text) ? text : `${PRELUDE}\n{\n${text}\n}\n`
      return [`${file.replace('.ts', '').replaceAll(/\W/g, '-')}-${index}.ts`, code] as const
    })
  })

  test('type-check, and so do the blocks', async () => {
    const blocks = DOCUMENTS.flatMap((name) =>
      blocksOf(readRoot(name))
        .filter(({ language, directive }) => language === 'ts' && !/^skip /.test(directive))
        .map(({ line, text: code }) => [`${name}-${line}.ts`, code] as const),
    )
    expect([examples.length > 6, blocks.length > 6]).toEqual([true, true])
    expect(await problemsIn([...examples, ...blocks])).toBe('')
  })

  test.each(examples)('run: %s', async (name, code) => {
    const file = folder.file(name.replace('.ts', '.mjs'))
    writeFileSync(file, (await transform(code, { loader: 'ts', format: 'esm' })).code)
    const ended = await promisify(execFile)(process.execPath, [file], { timeout: 10_000 })
    expect(ended).toEqual({ stdout: '', stderr: '' })
  })
})

test('finds the blocks of a text, whatever their fences, and no half ones', () => {
  const text = 'a\n<!-- test: skip it -->\n```sh\nls\n```\n1. b\n   ~~~ts\n   x\n     y\n   ~~~\n````\n```\n````\n'
  expect(blocksOf(text)).toEqual([
    { line: 3, language: 'sh', text: 'ls', directive: 'skip it' },
    { line: 7, language: 'ts', text: 'x\n  y', directive: '' },
    { line: 11, language: '', text: '```', directive: '' },
  ])
  expect(() => blocksOf('```sh\nls\n')).toThrow('line 1')
  expect(() => blocksOf('<!-- test: skip it -->\n\n```sh\nls\n```')).toThrow('line 1')
})
