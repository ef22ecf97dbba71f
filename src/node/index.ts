export { type LogStream, lineLog } from './line-log.ts'
export { nodeSignaller } from './node-signaller.ts'
export type { NodeSignallerOptions } from './policy.ts'
export { clearStaleSocket } from './unix-socket.ts'
