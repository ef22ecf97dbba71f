import { execFileSync } from 'node:child_process'
import { copyFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { emptyFolder } from '../support/folder.ts'
import { startTarget } from '../support/processes.ts'
import { BUILT_FILE, startServer } from '../support/server.ts'
import { runtimes } from './runtimes.ts'

const SEA = '{"main":"psys-kill.cjs","output":"psys-kill"}'

test.for([
  ['Bun', ['build', '--compile', 'psys-kill.cjs', '--outfile', 'psys-kill']],
  ['Node 26', ['--build-sea', 'sea.json']],
] as const)('%s makes an executable that kills', async ([runtime, args]) => {
  using folder = emptyFolder()
  copyFileSync(BUILT_FILE, folder.file('psys-kill.cjs'))
  writeFileSync(folder.file('sea.json'), SEA)
  execFileSync(runtimes[runtime], args, { cwd: folder.path, stdio: 'pipe' })
  using target = await startTarget()
  await using server = await startServer({ command: [folder.file('psys-kill')] })
  expect(await server.kill({ pid: target.pid, waitMs: 60_000 })).toMatchObject({
    status: 200,
    text: '{"ok":true,"exited":true}',
  })
  expect(await target.ended).toBe('SIGTERM')
})
