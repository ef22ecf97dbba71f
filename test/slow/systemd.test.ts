import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'

const inBuild = (name: string) => fileURLToPath(new URL(`../../build/${name}`, import.meta.url))
const UNITS = ['psys-kill.socket', 'psys-kill.service', 'psys-kill-tcp.service']
const TOKEN = 'correct-horse-battery-staple'
const unit = readFileSync(inBuild('psys-kill-tcp.service'), 'utf8')

/** The values of a directive, in the order of the file. */
const values = (directive: string) =>
  [...unit.matchAll(new RegExp(`^${directive}=(.*)$`, 'gm'))].map(([, value = '']) => value)

const runs = (command: string, ...args: string[]) => spawnSync(command, args, { stdio: 'ignore' }).status === 0
const hasAnalyze = runs('systemd-analyze', '--version')
const mayRestrict = process.getuid?.() === 0 && runs('setpriv', '--version') && runs('unshare', '--mount', 'true')
const mayDeny = hasAnalyze && mayRestrict && runs('strace', '-f', 'true')
const unless = (possible: boolean, needs: string) => (possible ? '' : ` (skipped: needs ${needs})`)

describe.skipIf(!hasAnalyze)(`systemd-analyze${unless(hasAnalyze, 'systemd-analyze')}`, () => {
  test('verifies the units', () => {
    using folder = emptyFolder()
    for (const name of UNITS) {
      const text = readFileSync(inBuild(name), 'utf8')
      // Their Node is where systemd looks for programs; the one of the tests may be elsewhere.
      writeFileSync(folder.file(name), text.replace('ExecStart=node', `ExecStart=${process.execPath}`))
    }
    const args = ['verify', '--man=no', ...UNITS.map(folder.file)]
    const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
    expect({ status, output: stdout + stderr }).toEqual({ status: 0, output: '' })
  })

  test.each(UNITS.filter((name) => name.endsWith('.service')))('rates the exposure of %s at 1.8 or less', (name) => {
    const args = ['security', '--offline=true', '--no-pager', inBuild(name)]
    const output = execFileSync('systemd-analyze', args, { encoding: 'utf8' })
    const [, level] = /Overall exposure level for \S+: (\S+)/.exec(output) ?? []
    expect(Number(level)).toBeLessThanOrEqual(1.8)
  })
})

describe('the unit', () => {
  test('leaves on what V8, the look at /proc and the kill need', () => {
    for (const directive of ['PrivateUsers', 'ProtectProc', 'ProcSubset', 'MemoryDenyWriteExecute', 'PrivatePIDs'])
      expect(values(directive)).toEqual([])
  })

  test('has one capability, a user without other rights, and a token', () => {
    expect(values('CapabilityBoundingSet')).toEqual(['CAP_KILL'])
    expect(values('AmbientCapabilities')).toEqual(['CAP_KILL'])
    expect(values('DynamicUser')).toEqual(['yes'])
    expect(values('LoadCredential')).toEqual(['token:/etc/psys-kill.token'])
    expect(values('ExecStart')).toEqual([
      expect.stringMatching(/^node \/\S+\/psys-kill\.cjs --token-file \$\{CREDENTIALS_DIRECTORY\}\/token$/),
    ])
  })
})

/** The system calls that the unit denies. */
const deniedCalls = () => {
  const sets = new Map<string, string[]>()
  const listing = execFileSync('systemd-analyze', ['syscall-filter', '--no-pager'], { encoding: 'utf8' })
  for (const [, name = '', body = ''] of listing.matchAll(/^(@\S+)\n((?: +.*\n)*)/gm))
    sets.set(
      name,
      body
        .split('\n')
        .map((line) => line.trim())
        .filter((line) => line && !line.startsWith('#')),
    )
  const expand = (name: string): string[] => (name.startsWith('@') ? (sets.get(name) ?? []).flatMap(expand) : [name])
  const allowed = new Set<string>()
  for (const filter of values('SystemCallFilter')) {
    const calls = filter.replace(/^~/, '').split(' ').flatMap(expand)
    for (const call of calls) filter.startsWith('~') ? allowed.delete(call) : allowed.add(call)
  }
  for (const call of expand('@default')) allowed.add(call)
  const denied = expand('@known').filter((call) => !allowed.has(call))
  expect(allowed).toContain('kill')
  expect(denied).toContain('ptrace')
  return denied
}

describe.skipIf(!mayRestrict)(`under its restrictions${unless(mayRestrict, 'root, setpriv and unshare')}`, () => {
  const USER = 65_432

  /** Does by hand what systemd does: the user, its capability, a read-only file system, the credential. */
  const startRestricted = async (folder: ReturnType<typeof emptyFolder>, ...wrapper: string[]) => {
    chmodSync(folder.path, 0o755)
    copyFileSync(BUILT_FILE, folder.file('psys-kill.cjs'))
    mkdirSync(folder.file('credentials'), { mode: 0o700 })
    writeFileSync(folder.file('credentials/token'), `${TOKEN}\n`, { mode: 0o400 })
    for (const name of ['credentials', 'credentials/token']) chownSync(folder.file(name), USER, USER)
    const [, , ...args] = values('ExecStart')
      .join()
      .replaceAll(/\$\{CREDENTIALS_DIRECTORY\}/g, folder.file('credentials'))
      .split(' ')
    return startServer({
      command: [
        ...['unshare', '--mount', 'sh', '-c', 'mount --bind / / && mount -o remount,bind,ro / && exec "$@"', 'sh'],
        ...['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--no-new-privs'],
        ...['--bounding-set=-all,+kill', '--inh-caps=-all,+kill', '--ambient-caps=-all,+kill'],
        ...wrapper,
        ...[process.execPath, folder.file('psys-kill.cjs')],
      ],
      args: [...args, '--port', '0'],
    })
  }

  const killsEverybody = async (server: Awaited<ReturnType<typeof startServer>>) => {
    expect(server.stderr()).toBe('')
    const authorization = `Bearer ${TOKEN}`
    for (const uid of [0, 65_431]) {
      using target = await startTarget('', { uid })
      expect(await server.kill({ pid: target.pid })).toMatchObject({ status: 401 })
      const seen = { pid: target.pid, startedBefore: new Date(Date.now() + 1000).toISOString(), waitMs: 10_000 }
      expect(await server.kill(seen, { authorization })).toMatchObject({
        status: 200,
        text: '{"ok":true,"exited":true}',
      })
      expect(await target.ended).toBe('SIGTERM')
    }
    expect(await server.stop()).toBe(0)
  }

  test('it starts, and kills what root and others run', async () => {
    using folder = emptyFolder()
    await using server = await startRestricted(folder)
    const status = readFileSync(`/proc/${server.child.pid}/status`, 'utf8')
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(status).toMatch(new RegExp(`^${set}:\\s0+20$`, 'm'))
    expect(status).toMatch(new RegExp(`^Uid:(\\s${USER}){4}$`, 'm'))
    await killsEverybody(server)
  })

  test.skipIf(!mayDeny)(`and with the system calls that it denies failing${unless(mayDeny, 'strace')}`, async () => {
    using folder = emptyFolder()
    const calls = deniedCalls()
      .map((call) => `?${call}`)
      .join()
    const strace = [
      'strace',
      '-D',
      '-f',
      '-qq',
      '-o',
      '/dev/null',
      '-e',
      `trace=${calls}`,
      '-e',
      `inject=${calls}:error=EPERM`,
    ]
    await using server = await startRestricted(folder, ...strace)
    await killsEverybody(server)
  })
})
