import { describe, expect, test } from 'vitest'
import { allowHosts } from '../../src/server/hosts.ts'
import { behind, PASSED } from '../support/behind.ts'

describe('allowHosts', () => {
  const ask = behind(allowHosts(['localhost', '127.0.0.1', '[::1]', 'tools.example']))

  test.each([
    'localhost',
    'localhost:3000',
    'LocalHost:80',
    '127.0.0.1',
    '127.0.0.1:65535',
    '[::1]',
    '[::1]:3000',
    'tools.example',
    'TOOLS.example:1',
    'localhost:',
  ])('passes %s', async (host) => expect(await ask({ host })).toMatchObject(PASSED))

  test.each([
    ...[
      '',
      ':',
      ':3000',
      'evil.example',
      'evil.example:3000',
      'localhost.evil.example',
      'evil-localhost',
      'localhost.',
    ],
    ...[
      '127.0.0.10',
      '127.0.0.1.evil.example',
      '127.1',
      '2130706433',
      '::1',
      '[::1',
      '[::1]x',
      '[::2]',
      '[::ffff:127.0.0.1]',
    ],
    ...[
      'localhost:80:80',
      'localhost:x',
      'user@localhost',
      'localhost, evil.example',
      'evil.example, localhost',
      '0.0.0.0',
    ],
  ])('refuses %j', async (host) => {
    const answer = await ask({ host })
    expect(answer).toMatchObject({ status: 403, body: '{"error":"Host not allowed"}' })
    expect(answer.headers.get('content-type')).toBe('application/json')
  })

  test('goes by the URL where there is no Host, as over HTTP/2', async () => {
    expect(await ask()).toMatchObject(PASSED)
    expect(await ask({}, { url: 'https://tools.example/' })).toMatchObject(PASSED)
    for (const url of ['http://evil.example/', 'http://localhost.evil.example:3000/'])
      expect(await ask({}, { url })).toMatchObject({ status: 403, body: '{"error":"Host not allowed"}' })
  })

  test('refuses a request that names two hosts, one of them not allowed', async () => {
    const refused = { status: 403, body: '{"error":"Host not allowed"}' }
    expect(await ask({ host: 'localhost' }, { url: 'http://evil.example/' })).toMatchObject(refused)
    expect(await ask({ host: 'evil.example' }, { url: 'http://localhost/' })).toMatchObject(refused)
    expect(await ask({ host: 'localhost' }, { url: 'http://127.0.0.1/' })).toMatchObject(PASSED)
  })
})
