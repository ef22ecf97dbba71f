// Forwards two kills to the given peer, one after the other, and prints the outcomes.
import process from 'node:process'
import { remoteSignaller } from '../../src/index.ts'

const [url = ''] = process.argv.slice(2)
const signaller = remoteSignaller({ url })
for (const pid of [2 ** 31 - 2, 2 ** 31 - 1]) {
  try {
    console.log((await signaller.terminate(pid, { stopWaiting: [], onSignal: () => {} })).code)
  } catch {
    console.log('thrown')
  }
}
// On Deno, the timeout of the last request would keep the process running.
process.exit()
