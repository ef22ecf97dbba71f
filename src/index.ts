export { KILL_PATH } from './app/answers.ts'
export { type AppOptions, type AppType, type Attempt, createApp } from './app/app.ts'
export { type RemoteSignallerOptions, remoteSignaller } from './app/remote.ts'
export type { Conditions, Outcome, OutcomeCode, Signaller } from './app/signaller.ts'
