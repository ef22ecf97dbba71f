// Forwards two kills to the peer that is named, one after the other, and says what came of them.
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
