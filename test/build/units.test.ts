import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { GRACE_MS } from '../../src/standalone/connections.ts'

/** A file of build/, and the values of a directive in it, in their order. */
const fileOf = (name: string) => {
  const text = readFileSync(new URL(`../../build/${name}`, import.meta.url), 'utf8')
  return (directive: string) =>
    [...text.matchAll(new RegExp(`^ *${directive}[= ](.*)$`, 'gm'))].map(([, value = '']) => value)
}

describe.each(['psys-kill.service', 'psys-kill-tcp.service'])('build/%s', (name) => {
  const values = fileOf(name)

  test.each([
    ['Restart', 'on-failure'],
    ['IPAddressDeny', 'any'],
    ['DynamicUser', 'yes'],
    ['CapabilityBoundingSet', 'CAP_KILL'],
    ['AmbientCapabilities', 'CAP_KILL'],
    ['NoNewPrivileges', 'yes'],
  ])('has %s=%s', (directive, value) => {
    expect(values(directive)).toEqual([value])
  })

  test('runs Node with a small heap, and lets it end requests in flight', () => {
    const [start = ''] = values('ExecStart')
    expect(start).toMatch(/^node --max-old-space-size=128 (--\S+ )*\/usr\/local\/lib\/psys-kill\/psys-kill\.cjs( |$)/)
    expect(Number(values('TimeoutStopSec'))).toBeGreaterThanOrEqual((2 * GRACE_MS) / 1000)
  })

  test.each(['PrivateUsers', 'ProtectProc', 'ProcSubset', 'MemoryDenyWriteExecute', 'PrivatePIDs'])(
    'leaves out %s, which V8, /proc or the kill cannot bear',
    (directive) => {
      expect(values(directive)).toEqual([])
    },
  )
})

test('the socket is for root and its group alone, and its service can open no other', () => {
  const socket = fileOf('psys-kill.socket')
  const service = fileOf('psys-kill.service')
  expect(socket('ListenStream')).toEqual(['/run/psys-kill.sock'])
  expect(socket('SocketGroup')).toEqual(['psys-kill'])
  expect(socket('SocketMode')).toEqual(['0660'])
  expect(service('Requires')).toEqual(['psys-kill.socket'])
  expect(service('RestrictAddressFamilies')).toEqual(['none'])
  expect(service('PrivateNetwork')).toEqual(['yes'])
  // systemd does not start a dynamic user that has the name of a group.
  expect(service('User')).not.toEqual(socket('SocketGroup'))
  expect(service('User')).toHaveLength(1)
})

test('build/nginx.conf never sends a kill twice, and tells who calls', () => {
  const values = fileOf('nginx.conf')
  expect(values('proxy_next_upstream')).toEqual(['off;'])
  expect(values('proxy_set_header X-Forwarded-For')).toEqual(['$remote_addr;'])
})
