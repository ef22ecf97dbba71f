import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { blocksOf } from '../support/markdown.ts'
import { runs } from '../support/needs.ts'
import { BUILT_FILE } from '../support/server.ts'
import { authority, LOOPBACK } from '../support/tls.ts'

const inRoot = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const SERVICES = ['psys-kill.service', 'psys-kill-tcp.service']
const UNITS = ['psys-kill.socket', ...SERVICES]
const hasAnalyze = runs('systemd-analyze', '--version')
const NEEDED = 'systemd-nspawn --version && unshare --mount true && openssl version'
const canBoot = process.getuid?.() === 0 && runs('sh', '-c', NEEDED)

describe.skipIf(!hasAnalyze)(`systemd-analyze${hasAnalyze ? '' : ' (needs systemd)'}`, () => {
  test('verifies the units', () => {
    using folder = emptyFolder()
    for (const name of UNITS) {
      const text = readFileSync(inRoot(`build/${name}`), 'utf8')
      // The Node of the tests may be where systemd does not look for programs.
      writeFileSync(folder.file(name), text.replace('ExecStart=node', `ExecStart=${process.execPath}`))
    }
    const args = ['verify', '--man=no', ...UNITS.map(folder.file)]
    const { status, stdout, stderr } = spawnSync('systemd-analyze', args, { encoding: 'utf8' })
    expect({ status, output: stdout + stderr }).toEqual({ status: 0, output: '' })
  })

  test.each(SERVICES)('rates the exposure of %s at 1.8 or less', (name) => {
    const args = ['security', '--offline=true', '--no-pager', inRoot(`build/${name}`)]
    const output = execFileSync('systemd-analyze', args, { encoding: 'utf8' })
    const [, level] = /Overall exposure level for \S+: (\S+)/.exec(output) ?? []
    expect(Number(level)).toBeLessThanOrEqual(1.8)
  })
})

// In namespaces of its own, which end with their first process: the files of this system, and above them what it writes.
// For IPAddressDeny systemd needs the unified hierarchy and bpf(2).
const BOOT = `
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cp -r "$2"/. "$1/root/"
cd "$1"
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn --quiet --directory="$1/root" --register=no --keep-unit --console=pipe --private-network \
  --system-call-filter=bpf --capability=CAP_BPF --machine=psys-kill-test --kill-signal=SIGKILL --boot systemd.unit=basic.target`

describe.skipIf(!canBoot)('under a real systemd (needs root, systemd-nspawn, unshare and openssl)', () => {
  const folder = emptyFolder()
  let nspawn: ReturnType<typeof spawn>
  let init = 0
  const inside = (script: string) => {
    const args = [`--target=${init}`, '--mount', '--pid', '--uts', '--ipc', '--net', '--cgroup', 'sh', '-c', script]
    return execFileSync('nsenter', args, { encoding: 'utf8', timeout: 60_000, stdio: ['ignore', 'pipe', 'ignore'] })
  }

  beforeAll(async () => {
    const put = (from: string, to: string) => cpSync(from, folder.file(`files/${to}`))
    for (const name of UNITS) put(inRoot(`build/${name}`), `etc/systemd/system/${name}`)
    put(BUILT_FILE, 'usr/local/lib/psys-kill/psys-kill.cjs')
    const ours = authority(folder, 'ours')
    const { certFile, keyFile } = ours.issue('server', LOOPBACK)
    for (const [name, from] of Object.entries({ cert: certFile, key: keyFile, ca: ours.caFile }))
      put(from, `etc/psys-kill/${name}.pem`)
    mkdirSync(folder.file('boot'))
    const args = ['--mount', 'sh', '-c', BOOT, 'sh', folder.file('boot'), folder.file('files')]
    nspawn = spawn('unshare', args, { stdio: 'ignore' })
    await vi.waitFor(() => {
      const children = readFileSync(`/proc/${nspawn.pid}/task/${nspawn.pid}/children`, 'latin1').split(' ')
      init = Number(children.find((pid) => /^systemd$/m.test(readFileSync(`/proc/${pid}/comm`, 'latin1'))))
      expect(init).toBeGreaterThan(0)
    }, 60_000)
    const state = 'systemctl is-system-running --wait || true'
    await vi.waitFor(() => expect(inside(state)).toBe('running\n'), { timeout: 60_000, interval: 100 })
    inside('groupadd --system psys-kill; useradd --groups psys-kill alice; useradd bob; systemctl daemon-reload')
  })
  afterAll(async () => {
    const ended = once(nspawn, 'exit')
    // With its first process, everything in it ends.
    if (init > 0) process.kill(init, 'SIGKILL')
    await ended
    folder[Symbol.dispose]()
  })

  /** Expects that some `curl` command kills a process of a user. */
  const expectKilled = (user: string, curl: string) => {
    const body = `-H 'Content-Type: application/json' -d "{\\"pid\\":$!,\\"waitMs\\":5000}"`
    const script = `setpriv --reuid ${user} --clear-groups sleep 600 & ${curl}/api/connections/kill ${body}`
    expect(inside(script)).toBe('{"ok":true,"exited":true}')
  }
  /** It runs as nobody else, can do nothing but kill, and its system calls are filtered. */
  const expectRestricted = (unit: string) => {
    const status = inside(`cat /proc/$(systemctl show --property=MainPID --value ${unit})/status`)
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect(status).toMatch(new RegExp(`^${set}:\\s0+20$`, 'm'))
    expect(status).toMatch(/^Uid:\s6\d{4}\s/m)
    expect(status).toMatch(/^NoNewPrivs:\s1\nSeccomp:\s2$/m)
  }

  describe('the socket', () => {
    const curl = 'curl -s --unix-socket /run/psys-kill.sock http://localhost'

    test('answers the first request, kills the processes of all users, and is for its group alone', () => {
      inside('systemctl enable --now psys-kill.socket')
      for (const user of ['root', 'bob']) expectKilled(user, curl)
      expectRestricted('psys-kill')
      const as = (user: string) =>
        inside(`setpriv --reuid ${user} --regid ${user} --init-groups ${curl}/healthz || echo no`)
      expect([as('alice'), as('bob')]).toEqual(['{"ok":true}', 'no\n'])
    })

    test.each(['restart psys-kill', 'kill --signal=KILL psys-kill', 'stop psys-kill'])(
      'loses no request at systemctl %s',
      (command) => {
        expect(inside(`systemctl start psys-kill.socket; systemctl ${command}; ${curl}/healthz`)).toBe('{"ok":true}')
      },
    )
  })

  describe('on TCP', () => {
    const [ALICE, BOB] = ['the-token-of-alice', 'the-token-of-bob']
    const write = (...tokens: string[]) =>
      inside(`umask 077; printf '%s\\n' ${tokens.join(' ')} > /etc/psys-kill.token; systemctl restart psys-kill-tcp`)
    const RETRY = '--retry 50 --retry-connrefused --retry-delay 0'
    const curl = (address: string, token: string, more = '') =>
      `curl -s --max-time 5 ${RETRY} -H 'Authorization: Bearer ${token}' ${more} ${address}`
    const statusOf = (token: string) =>
      inside(curl('http://127.0.0.1:3000/api/connections/kill', token, "-o /dev/null -w '%{http_code}' -d {}"))

    test('it requires the token, and kills the processes of all users', () => {
      write(ALICE)
      for (const user of ['root', 'bob']) expectKilled(user, curl('http://127.0.0.1:3000', ALICE))
      expect(statusOf(BOB)).toBe('401')
      expectRestricted('psys-kill-tcp')
    })

    test('a restart takes a new token, and nothing else does', () => {
      write(ALICE)
      // systemctl does not wait until systemd has read the file.
      expect(statusOf(ALICE)).toBe('400')
      inside(`echo ${BOB} > /etc/psys-kill.token`)
      expect(inside('systemctl reload psys-kill-tcp || echo no')).toBe('no\n')
      expect([statusOf(ALICE), statusOf(BOB)]).toEqual(['400', '401'])
      write(BOB)
      expect([statusOf(ALICE), statusOf(BOB)]).toEqual(['401', '400'])
    })

    // Its settings stay: it is the last one.
    test("the README's settings for a team: TLS, names of tokens, and no address but those that are allowed", () => {
      const readme = readFileSync(inRoot('README.md'), 'utf8')
      const block = blocksOf(readme).find(({ text }) => text.includes('team.conf'))
      const [, settings = ''] = /<<'END'\n(.*)\nEND\n/s.exec(block?.text ?? '') ?? []
      const folderOf = '/etc/systemd/system/psys-kill-tcp.service.d'
      inside(`mkdir -p ${folderOf}; cat > ${folderOf}/team.conf <<'END'\n${settings}\nEND\nsystemctl daemon-reload`)
      inside('ip address add 10.1.2.3/32 dev lo; ip address add 192.0.2.1/32 dev lo')
      write(`alice:${ALICE}`, `bob:${BOB}`)
      const healthy = (address: string, more = '') =>
        inside(`curl -s -k --max-time 3 ${more} https://${address}:3000/healthz || echo no`)
      expect(healthy('127.0.0.1', RETRY)).toBe('{"ok":true}')
      expect(healthy('10.1.2.3')).toBe('{"ok":true}')
      expect(healthy('192.0.2.1')).toBe('no\n')
      expectKilled('bob', curl('https://localhost:3000', BOB, '--cacert /etc/psys-kill/ca.pem'))
      expect(inside('journalctl -u psys-kill-tcp -o cat')).toContain('"by":"bob"')
      expectRestricted('psys-kill-tcp')
    })
  })
})
