import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import packageJson from '../../package.json' with { type: 'json' }
import { BUILT_FILE } from '../support/server.ts'

/** A file of build/, and the values of a directive in it, in their order. */
const fileOf = (name: string) => {
  const text = readFileSync(new URL(`../../build/${name}`, import.meta.url), 'utf8')
  return {
    text,
    values: (directive: string) =>
      [...text.matchAll(new RegExp(`^ *${directive}[= ](.*)$`, 'gm'))].map(([, value = '']) => value),
  }
}

describe.each(['psys-kill.service', 'psys-kill-tcp.service'])('build/%s', (name) => {
  const { values } = fileOf(name)

  test.each([
    ['Restart', ['on-failure']],
    ['TimeoutStopSec', ['10']],
    ['IPAddressDeny', ['any']],
    ['DynamicUser', ['yes']],
    ['CapabilityBoundingSet', ['CAP_KILL']],
    ['AmbientCapabilities', ['CAP_KILL']],
    ['NoNewPrivileges', ['yes']],
  ])('has %s=%j', (directive, expected) => {
    expect(values(directive)).toEqual(expected)
  })

  test('leaves on what V8, the look at /proc and the kill need', () => {
    for (const directive of ['PrivateUsers', 'ProtectProc', 'ProcSubset', 'MemoryDenyWriteExecute', 'PrivatePIDs'])
      expect(values(directive)).toEqual([])
  })
})

test('the socket is for root and its group alone, and its service can open no other', () => {
  const socket = fileOf('psys-kill.socket')
  const service = fileOf('psys-kill.service')
  expect(socket.values('ListenStream')).toEqual(['/run/psys-kill.sock'])
  expect(socket.values('SocketGroup')).toEqual(['psys-kill'])
  expect(socket.values('SocketMode')).toEqual(['0660'])
  expect(service.values('Requires')).toEqual(['psys-kill.socket'])
  expect(service.values('RestrictAddressFamilies')).toEqual(['none'])
  expect(service.values('PrivateNetwork')).toEqual(['yes'])
  // systemd starts no dynamic user of a group's name.
  expect(service.values('User')).not.toEqual(socket.values('SocketGroup'))
  expect(service.values('User')).toHaveLength(1)
})

test('build/nginx.conf tries no second host, and tells who asks', () => {
  const { values } = fileOf('nginx.conf')
  expect(values('proxy_next_upstream')).toEqual(['off;'])
  expect(values('proxy_set_header X-Forwarded-For')).toEqual(['$remote_addr;'])
})

test('build/Dockerfile runs as user 0, and asks for a token', () => {
  const { values } = fileOf('Dockerfile')
  expect(values('USER')).toEqual(['0'])
  expect(JSON.parse(values('CMD').join())).toEqual(['--host', '0.0.0.0', '--token-file', '/run/psys-kill.token'])
})

test('npm start runs the file that the build makes', () => {
  const [, file = ''] = /^node (\S+)$/.exec(packageJson.scripts.start) ?? []
  expect(fileURLToPath(new URL(`../../${file}`, import.meta.url))).toBe(BUILT_FILE)
  expect(existsSync(BUILT_FILE)).toBe(true)
})
