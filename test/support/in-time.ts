import { setTimeout as sleep } from 'node:timers/promises'

/** What something resolves to; throws after 20 seconds, and says for what it waited and how things stand. */
export const inTime = <Value>(what: string, waiting: Promise<Value>, state: () => string, seconds = 20) =>
  Promise.race([
    waiting,
    sleep(seconds * 1000, undefined, { ref: false }).then((): never => {
      throw new Error(`Waited ${seconds} s for ${what}.\n${state()}`)
    }),
  ])
