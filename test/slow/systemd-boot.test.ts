import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, mkdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { BUILT_FILE } from '../support/server.ts'

const inBuild = (name: string) => fileURLToPath(new URL(`../../build/${name}`, import.meta.url))
const canBoot =
  process.getuid?.() === 0 &&
  spawnSync('systemd-nspawn', ['--version']).status === 0 &&
  spawnSync('unshare', ['--mount', 'true']).status === 0

// In namespaces of its own, which end with the first process: this system's files, and over them what it writes.
const BOOT = `
set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/up,workdir=$1/work" "$1/root"
cp "$2"/*.service "$2"/*.socket "$1/root/etc/systemd/system/"
mkdir -p "$1/root/usr/local/lib/psys-kill"
cp "$2/psys-kill.cjs" "$1/root/usr/local/lib/psys-kill/"
cd "$1"
exec systemd-nspawn --quiet --directory="$1/root" --register=no --keep-unit --console=pipe --private-network \
  --machine=psys-kill-test --kill-signal=SIGKILL --boot systemd.unit=basic.target`

const childrenOf = (pid: number) =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').split(' ').filter(Boolean).map(Number)

describe.skipIf(!canBoot)('under a real systemd (needs root, systemd-nspawn and unshare)', () => {
  const folder = emptyFolder()
  let nspawn: ReturnType<typeof spawn>
  let init = 0
  const inside = (script: string) =>
    execFileSync(
      'nsenter',
      [`--target=${init}`, '--mount', '--pid', '--uts', '--ipc', '--net', '--cgroup', 'sh', '-c', script],
      {
        encoding: 'utf8',
        timeout: 30_000,
        stdio: ['ignore', 'pipe', 'ignore'],
      },
    )

  beforeAll(async () => {
    mkdirSync(folder.file('files'))
    mkdirSync(folder.file('boot'))
    for (const name of ['psys-kill.service', 'psys-kill.socket', 'psys-kill-tcp.service'])
      copyFileSync(inBuild(name), folder.file(`files/${name}`))
    copyFileSync(BUILT_FILE, folder.file('files/psys-kill.cjs'))
    nspawn = spawn('unshare', ['--mount', 'sh', '-c', BOOT, 'sh', folder.file('boot'), folder.file('files')], {
      stdio: 'ignore',
    })
    while (init === 0) {
      await sleep(50)
      init = childrenOf(nspawn.pid ?? 0).find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8') === 'systemd\n') ?? 0
    }
    for (;;) {
      try {
        if (inside('systemctl is-system-running --wait || true').trim() === 'running') break
      } catch {
        // Not yet up.
      }
      await sleep(100)
    }
    inside('groupadd --system psys-kill; useradd --groups psys-kill alice; useradd bob; systemctl daemon-reload')
  })
  afterAll(async () => {
    const ended = once(nspawn, 'exit')
    // The end of its first process is the end of all in there.
    if (init > 0) process.kill(init, 'SIGKILL')
    await ended
    folder[Symbol.dispose]()
  })

  const ask = 'curl -s --unix-socket /run/psys-kill.sock http://localhost'
  const KILL = `sleep 600 & pid=$!; ${ask}/api/connections/kill -H 'Content-Type: application/json' -d "{\\"pid\\":$pid,\\"waitMs\\":5000}"`

  test('the first request behind enable --now of the socket is answered, and kills', () => {
    expect(inside(`systemctl enable --now psys-kill.socket; ${KILL}`)).toBe('{"ok":true,"exited":true}')
  })

  test('its group may call, and no other user', () => {
    const as = (user: string) =>
      inside(`setpriv --reuid ${user} --regid ${user} --init-groups ${ask}/healthz || echo no`)
    expect(as('alice')).toBe('{"ok":true}')
    expect(as('bob')).toBe('no\n')
  })

  test('a restart, a crash and a stop lose no request', () => {
    expect(inside(`systemctl restart psys-kill; ${ask}/healthz`)).toBe('{"ok":true}')
    expect(inside(`systemctl kill --signal=KILL psys-kill; ${ask}/healthz`)).toBe('{"ok":true}')
    expect(inside(`systemctl stop psys-kill; ${ask}/healthz`)).toBe('{"ok":true}')
  })

  test('on TCP it asks for the token', () => {
    const url = 'http://127.0.0.1:3000'
    inside('umask 077; echo correct-horse-battery-staple > /etc/psys-kill.token; systemctl enable --now psys-kill-tcp')
    expect(inside(`curl -s --retry 20 --retry-connrefused ${url}/healthz`)).toBe('{"ok":true}')
    const kill = `curl -s ${url}/api/connections/kill -H 'Content-Type: application/json' -d '{}'`
    expect(inside(kill)).toBe('{"error":"Unauthorized"}')
    expect(inside(`${kill} -H 'Authorization: Bearer correct-horse-battery-staple'`)).toBe('{"error":"Invalid pid"}')
  })
})
