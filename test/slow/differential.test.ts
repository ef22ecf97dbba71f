import { expect, it } from 'vitest'
import { needsLinux } from '../support/needs.ts'
import { compareWithOracle, randomSeed } from '../support/scenes.ts'

it('answers and records very many random requests as the README says', async (context) => {
  needsLinux(context)
  expect((await compareWithOracle({ requests: 30_000, seed: randomSeed() })).length).toBeGreaterThanOrEqual(30_000)
})
