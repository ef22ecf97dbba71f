import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { transform } from 'esbuild'
import packageJson from '../../package.json' with { type: 'json' }
import { emptyFolder } from '../support/folder.ts'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** What checks the package, and what it is used with, as `npm ci` brings them there. */
const TOOLS = join(ROOT, 'test/package')
const { hono, '@hono/node-server': server, '@types/node': types } = packageJson.devDependencies

export const exec = promisify(execFile)
export const runTool = (name: string, ...args: string[]) => exec(join(TOOLS, 'node_modules/.bin', name), args)
export const npm = (args: readonly string[], cwd: string) =>
  exec('npm', [...args, '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd })

type Texts = Readonly<Record<string, string>>

/** Packs the package, and makes projects with the tarball in them, as a stranger would. */
export const packPackage = async () => {
  if (!existsSync(join(TOOLS, 'node_modules'))) await npm(['ci'], TOOLS)
  const folder = emptyFolder()
  const { stdout } = await npm(['pack', '--json', '--pack-destination', folder.path], ROOT)
  const packed: { filename: string; size: number; files: { path: string }[] } = [JSON.parse(stdout)].flat()[0]
  const tarball = folder.file(packed.filename)

  /** @param sources - TypeScript by its name; each is there as `NAME.mjs` too. */
  const createProject = async (name: string, others: Texts, sources: Texts) => {
    const path = folder.file(name)
    mkdirSync(path)
    const own = { hono, '@hono/node-server': server, '@types/node': types, 'psys-kill': `file:${tarball}` }
    const project = { private: true, type: 'module', dependencies: { ...own, ...others } }
    writeFileSync(join(path, 'package.json'), JSON.stringify(project))
    await npm(['install'], path)
    const add = async (file: string, text: string) => {
      writeFileSync(join(path, `${file}.ts`), text)
      writeFileSync(join(path, `${file}.mjs`), (await transform(text, { loader: 'ts', format: 'esm' })).code)
    }
    for (const [file, text] of Object.entries(sources)) await add(file, text)

    /** What a compiler says of some of the files, nothing where they are right. */
    const problems = (compiler: 'typescript5' | 'typescript7', options: string, ...files: string[]) => {
      const tsc = join(TOOLS, 'node_modules', compiler, 'bin/tsc')
      return exec(process.execPath, [tsc, '--noEmit', ...options.split(' '), ...files], { cwd: path }).then(
        () => '',
        ({ stdout, stderr }) => stdout + stderr,
      )
    }
    return { path, add, problems }
  }

  return { packed, tarball, folder, createProject, [Symbol.dispose]: folder[Symbol.dispose] }
}

export type PackedPackage = Awaited<ReturnType<typeof packPackage>>
export type Project = Awaited<ReturnType<PackedPackage['createProject']>>
