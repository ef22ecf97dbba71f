import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { emptyFolder } from '../support/folder.ts'
import { startServer } from '../support/server.ts'
import { killAt, runtimes } from './runtimes.ts'

const src = fileURLToPath(new URL('../../src', import.meta.url))

/** A compatibility date with flags. */
export const at = (date: string, ...flags: string[]) => ({ date, flags })
/** The newest date that this workerd knows. */
export const NEWEST = at('2026-11-17')

/** As the tools of Workers do: the runtime's own modules stay imports. */
const MODULES = { external: ['node:*'], mainFields: ['module', 'main'], conditions: ['workerd', 'worker', 'browser'] }

const CONFIG = `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker), (name = "internet", network = (allow = ["private"]))],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")]
);
const worker :Workerd.Worker = (modules = [(name = "worker.js", esModule = embed "worker.js")],`

/** Starts workerd with one Worker, which may reach private addresses. Rejects with its error text if it does not start. */
export const startWorker = async (source: string, { date, flags } = NEWEST, variables = {}) => {
  using folder = emptyFolder()
  const bindings = Object.entries(variables).map(([name, text]) => `(name = "${name}", text = "${text}")`)
  const compatibility = `compatibilityDate = "${date}", compatibilityFlags = ${JSON.stringify(flags)}`
  const stdin = { contents: source, resolveDir: src, loader: 'ts' } as const
  const outfile = folder.file('worker.js')
  await build({ stdin, outfile, bundle: true, format: 'esm', platform: 'neutral', logLevel: 'error', ...MODULES })
  writeFileSync(folder.file('config.capnp'), `${CONFIG} ${compatibility}, bindings = [${bindings}]);`)
  const command = [runtimes.workerd, 'serve', '--control-fd=1', folder.file('config.capnp')]
  const server = await startServer({ command, args: [], listening: /"port":(\d+)/ })
  const url = `http://127.0.0.1:${server.url}`
  return { ...server, url, kill: (body: object) => killAt(url, body) }
}

/** The source of a Worker that forwards to a peer. The options are those of createServerApp. */
export const gateway = (peer: string, options: object = {}) => `
  import { createServerApp } from './server/index.ts'
  import { remoteSignaller } from './app/remote.ts'
  export default createServerApp({
    signaller: remoteSignaller({ url: ${JSON.stringify(peer)} }),
    log: { write: (line) => console.log(line) },
    hosts: ['127.0.0.1', 'localhost'],
    ...${JSON.stringify(options)},
  })`
