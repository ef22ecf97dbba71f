import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { GRACE_MS } from '../../src/standalone/connections.ts'

/** Expects these values of some directives in a file of build/. */
const expectValues = (name: string, expected: Readonly<Record<string, readonly unknown[]>>) => {
  const text = readFileSync(new URL(`../../build/${name}`, import.meta.url), 'utf8')
  const valuesOf = (directive: string) =>
    [...text.matchAll(new RegExp(`^ *${directive}[= ](.*)$`, 'gm'))].map(([, value]) => value)
  expect(Object.fromEntries(Object.keys(expected).map((name) => [name, valuesOf(name)]))).toEqual(expected)
}

test.each(['psys-kill.service', 'psys-kill-tcp.service'])('build/%s restricts Node', (name) => {
  const command = /^node --max-old-space-size=128 (--\S+ )*\/usr\/local\/lib\/psys-kill\/psys-kill\.cjs( |$)/
  expectValues(name, {
    ExecStart: [expect.stringMatching(command)],
    Restart: ['on-failure'],
    // It lets requests in flight end.
    TimeoutStopSec: [expect.toSatisfy((seconds) => Number(seconds) >= (2 * GRACE_MS) / 1000)],
    IPAddressDeny: ['any'],
    DynamicUser: ['yes'],
    CapabilityBoundingSet: ['CAP_KILL'],
    AmbientCapabilities: ['CAP_KILL'],
    NoNewPrivileges: ['yes'],
    // V8, /proc or the kill cannot bear these.
    ...{ PrivateUsers: [], ProtectProc: [], ProcSubset: [], MemoryDenyWriteExecute: [], PrivatePIDs: [] },
  })
})

test('the socket is for root and its group alone, and its service can open no other', () => {
  const ListenStream = ['/run/psys-kill.sock']
  expectValues('psys-kill.socket', { ListenStream, SocketGroup: ['psys-kill'], SocketMode: ['0660'] })
  expectValues('psys-kill.service', {
    Requires: ['psys-kill.socket'],
    RestrictAddressFamilies: ['none'],
    PrivateNetwork: ['yes'],
    // systemd does not start a dynamic user that has the name of a group.
    User: [expect.not.stringMatching(/^psys-kill$/)],
  })
})
