import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** An empty folder that is removed, with what is in it, at the end of the scope. */
export const emptyFolder = () => {
  const path = mkdtempSync(join(tmpdir(), 'psys-kill-'))
  return {
    path,
    file: (name: string) => join(path, name),
    [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }),
  }
}
