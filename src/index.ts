export { type AppOptions, type AppType, type Attempt, createApp, KILL_PATH } from './app.ts'
export { type RemoteSignallerOptions, remoteSignaller } from './remote.ts'
export type { Conditions, Outcome, OutcomeCode, Signaller } from './signaller.ts'
