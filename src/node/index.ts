export { type LogStream, lineLog } from './line-log.ts'
export { type NodeSignallerOptions, nodeSignaller } from './node-signaller.ts'
export { clearStaleSocket } from './unix-socket.ts'
