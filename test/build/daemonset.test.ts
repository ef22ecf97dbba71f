import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import packageJson from '../../package.json' with { type: 'json' }
import { GRACE_MS } from '../../src/standalone/connections.ts'
import { emptyFolder } from '../support/folder.ts'
import { describeWith } from '../support/needs.ts'
import { startSleeper } from '../support/processes.ts'
import { BUILT_FILE, health, startServer, TOKEN } from '../support/server.ts'

const inRoot = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url))
const dockerfile = readFileSync(inRoot('build/Dockerfile'), 'utf8')
const { spec } = parse(readFileSync(inRoot('build/daemonset.yaml'), 'utf8'), { version: '1.1' })
const pod = spec.template.spec
const [container] = pod.containers

/** The value of an instruction of the Dockerfile. */
const instruction = (name: string) => new RegExp(`^${name} (.*)$`, 'm').exec(dockerfile)?.[1] ?? ''
const [node, ...entryPoint]: string[] = JSON.parse(instruction('ENTRYPOINT'))
const [source = '', copied] = instruction('COPY').split(' ')

/** Starts the built file as the image does, with arguments in which the token file and the port are the test's own. */
const startImage = async (args: readonly string[], tokenFile: string, mode: number) => {
  using folder = emptyFolder()
  const file = folder.file('token')
  writeFileSync(file, TOKEN, { mode })
  const own: Record<string, string> = { [tokenFile]: file, 3000: '0' }
  const command = [process.execPath, ...entryPoint.slice(0, -1), BUILT_FILE]
  return await startServer({ command, args: args.map((arg) => own[arg] ?? arg), env: { PORT: '0' } })
}
const NOT_LOOPBACK = /^http:\/\/0\.0\.0\.0:\d+$/

test('build/Dockerfile starts the built file as user 0, beyond loopback, on its default port, with a token', async () => {
  expect(inRoot(source)).toBe(BUILT_FILE)
  expect([node, ...entryPoint]).toEqual(['node', '--max-old-space-size=128', expect.any(String), copied])
  const args: string[] = JSON.parse(instruction('CMD'))
  await using server = await startImage(args, '/run/psys-kill.token', 0o600)
  expect(server.url).toMatch(NOT_LOOPBACK)
  expect(args).not.toContain('--port')
  expect([instruction('USER'), instruction('EXPOSE')]).toEqual(['0', '3000'])
  expect((await server.kill({ pid: 0 })).status).toBe(401)
})

describe('build/daemonset.yaml', () => {
  test('runs the image of this release, which sees the processes of the node, and can kill them and nothing else', () => {
    expect(spec.template.metadata.labels).toEqual(spec.selector.matchLabels)
    expect(container.image).toMatch(new RegExp(`/psys-kill:${packageJson.version}$`))
    expect(dockerfile).toContain(`-t psys-kill:${packageJson.version} .`)
    expect(container.command).toBeUndefined()
    expect(pod.terminationGracePeriodSeconds).toBeGreaterThanOrEqual((2 * GRACE_MS) / 1000)
    expect(pod).toMatchObject({ hostPID: true, automountServiceAccountToken: false, enableServiceLinks: false })
    expect(pod).not.toHaveProperty('hostNetwork')
    expect(container.securityContext).toEqual({
      ...{ runAsUser: 0, runAsGroup: 0, capabilities: { drop: ['ALL'], add: ['KILL'] } },
      ...{ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
      ...{ seccompProfile: { type: 'RuntimeDefault' }, appArmorProfile: { type: 'Unconfined' } },
    })
  })

  test('has settings with which the server starts, and probes that it answers', async () => {
    const [volume] = pod.volumes
    const [mount] = container.volumeMounts
    const [port] = container.ports
    expect(volume).toMatchObject({ name: mount.name, secret: { secretName: 'psys-kill', defaultMode: 0o400 } })
    expect(container.args[container.args.indexOf('--port') + 1]).toBe(`${port.containerPort}`)
    expect(port.hostPort).toBe(3000)
    await using server = await startImage(container.args, `${mount.mountPath}/token`, volume.secret.defaultMode)
    expect(server.stderr()).toMatch(/^psys-kill: The token travels in clear text[^\n]+\n$/)
    expect(server.url).toMatch(NOT_LOOPBACK)
    const probe = { httpGet: { path: '/healthz', port: port.name } }
    expect(container).toMatchObject({ startupProbe: probe, livenessProbe: probe, readinessProbe: probe })
    expect(await health(server.url)).toBe(200)
    expect((await server.kill({ pid: 0 })).status).toBe(401)
  })
})

// What a container runtime does with such a securityContext, without a container runtime.
describeWith(['root', 'setpriv'], 'the single file, with a bounding set as in the DaemonSet', () => {
  test.each([
    ['kills the process of another user as user 0 with CAP_KILL alone', [], '-all,+kill', 200, 1 << 5],
    ['may not without the capability', [], '-all', 403, 0],
    ['may not as another user', ['--reuid', '65533', '--regid', '65533', '--clear-groups'], '-all,+kill', 403, 0],
  ])('%s', async (_what, user, set, status, capabilities) => {
    using target = startSleeper({ uid: 65_534, gid: 65_534 })
    const command = ['setpriv', '--no-new-privs', ...user, '--bounding-set', set, process.execPath, BUILT_FILE]
    await using server = await startServer({ command, env: { PSYS_KILL_TOKEN: TOKEN } })
    const own = readFileSync(`/proc/${server.child.pid}/status`, 'utf8')
    expect(Number.parseInt(/^CapEff:\s*(\w+)/m.exec(own)?.[1] ?? '', 16)).toBe(capabilities)
    expect((await server.kill({ pid: target.pid }, { authorization: `Bearer ${TOKEN}` })).status).toBe(status)
    if (status === 200) expect(await target.ended).toBe('SIGTERM')
    expect(target.isAlive()).toBe(status !== 200)
  })
})
