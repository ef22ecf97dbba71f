// Forwards two kills to the given peer, one after the other, and prints the outcomes.
import process from 'node:process'
import { remoteSignaller } from '../../src/index.ts'

const [url = ''] = process.argv.slice(2)
const { terminate } = remoteSignaller({ url })
for (const pid of [2 ** 31 - 2, 2 ** 31 - 1]) {
  const terminating = Promise.resolve(terminate(pid, { stopWaiting: [], onSignal: () => {} }))
  console.log(await terminating.then(({ code }) => code).catch(() => 'thrown'))
}
// On Deno, the timeout of the last request would keep the process running.
process.exit()
