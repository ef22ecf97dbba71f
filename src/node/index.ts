export { type LogStream, lineLog } from './log.ts'
export { nodeSignaller } from './node-signaller.ts'
export type { NodeSignallerOptions } from './policy.ts'
export { clearStaleSocket } from './unix-socket.ts'
