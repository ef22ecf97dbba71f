import { readFileSync, writeFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { emptyFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { startTarget } from '../support/target.ts'
import { TOKEN } from '../support/token.ts'

const { spec } = parse(readFileSync(new URL('../../build/daemonset.yaml', import.meta.url), 'utf8'), { version: '1.1' })
const pod = spec.template.spec
const [container] = pod.containers

const NOBODY = { uid: 65_534, gid: 65_534 }

describe('build/daemonset.yaml', () => {
  test('sees the processes of the node, and has the capability to kill them and no other', () => {
    expect(pod.hostPID).toBe(true)
    expect(pod.hostNetwork).toBeUndefined()
    expect(pod.automountServiceAccountToken).toBe(false)
    expect(pod.enableServiceLinks).toBe(false)
    expect(container.securityContext).toMatchObject({
      runAsUser: 0,
      capabilities: { drop: ['ALL'], add: ['KILL'] },
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      appArmorProfile: { type: 'Unconfined' },
    })
    expect(container.securityContext.privileged).toBeUndefined()
  })

  test('reads the token from a Secret that none but the server may read', () => {
    const [volume] = pod.volumes
    const [mount] = container.volumeMounts
    expect(volume).toMatchObject({ name: mount.name, secret: { secretName: 'psys-kill', defaultMode: 0o400 } })
    expect(container.args.at(-1)).toBe(`${mount.mountPath}/token`)
  })

  test('selects its own pods', () => {
    expect(spec.template.metadata.labels).toEqual(spec.selector.matchLabels)
  })

  test('has settings with which the server starts, and probes that it answers', async () => {
    using folder = emptyFolder()
    const file = folder.file('token')
    writeFileSync(file, TOKEN, { mode: 0o400 })
    const free: Record<string, string> = { 0: '0.0.0.0', 3000: '0' }
    const args = container.args.map((arg: string) => (arg.endsWith('/token') ? file : (free[arg] ?? arg)))
    await using server = await startServer({ args })
    expect(server.stderr()).toBe('')
    const { port } = new URL(server.url)
    for (const probe of ['startupProbe', 'livenessProbe', 'readinessProbe']) {
      const { path, port: name } = container[probe].httpGet
      expect(name).toBe(container.ports[0].name)
      expect((await fetch(`http://127.0.0.1:${port}${path}`)).status).toBe(200)
    }
  })
})

// What the container runtime does with such a securityContext, without a container runtime.
describeWith(['root', 'setpriv'], 'the single file, with a bounding set like the DaemonSet has', () => {
  const kill = async (restrict: readonly string[]) => {
    using target = await startTarget('', NOBODY)
    const command = ['setpriv', '--no-new-privs', ...restrict, process.execPath, BUILT_FILE]
    await using server = await startServer({ command, env: { PSYS_KILL_TOKEN: TOKEN } })
    const [, capabilities = ''] =
      /^CapEff:\s*(\w+)/m.exec(readFileSync(`/proc/${server.child.pid}/status`, 'utf8')) ?? []
    const { status } = await server.kill({ pid: target.pid }, { authorization: `Bearer ${TOKEN}` })
    if (status === 200) await target.ended
    expect(target.isAlive()).toBe(status !== 200)
    return { status, capabilities: Number.parseInt(capabilities, 16) }
  }

  test("kills another user's process as user 0 with CAP_KILL alone", async () => {
    expect(await kill(['--bounding-set', '-all,+kill'])).toEqual({ status: 200, capabilities: 1 << 5 })
  })

  test('may not without it', async () => {
    expect(await kill(['--bounding-set', '-all'])).toEqual({ status: 403, capabilities: 0 })
  })

  test('may not as another user, for whom the capability has no effect', async () => {
    const another = ['--reuid', '65533', '--regid', '65533', '--clear-groups', '--bounding-set', '-all,+kill']
    expect(await kill(another)).toEqual({ status: 403, capabilities: 0 })
  })
})
