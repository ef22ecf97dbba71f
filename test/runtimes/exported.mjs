// The app as a default export, for `deno serve` and for Bun.
import { createApp } from '../../build/dist/lib/index.js'
import { nodeSignaller } from '../../build/dist/lib/node/index.js'

const { fetch } = createApp({ signaller: nodeSignaller() })
export default { fetch, hostname: '127.0.0.1', port: 0 }
