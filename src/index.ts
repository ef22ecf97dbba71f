export { type AppOptions, type AppType, createApp } from './app/app.ts'
export type { KillAttempt } from './app/attempt.ts'
export { KILL_PATH, REASON_HEADER, REASONS, type Reason } from './app/contract.ts'
export { type PeerRequest, type PeerResponse, type RemoteSignallerOptions, remoteSignaller } from './app/remote.ts'
export type {
  Condition,
  Delivery,
  Outcome,
  OutcomeCode,
  ProcessSeen,
  Progress,
  Signaller,
  SignallerReason,
} from './app/signaller.ts'
