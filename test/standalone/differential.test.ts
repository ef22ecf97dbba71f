import { expect, it } from 'vitest'
import { needsLinux } from '../support/needs.ts'
import { compareWithOracle, randomSeed } from '../support/scenes.ts'

const EVERY_ANSWER = `200 {"ok":true}
200 {"ok":true,"exited":true}
200 {"ok":true,"exited":false}
204${' '}
400${' '}
400 {"error":"Invalid pid"}
400 {"error":"Invalid startedBefore"}
400 {"error":"Invalid waitMs"}
400 {"error":"Unknown field"}
401 {"error":"Unauthorized"}
403 {"error":"Host not allowed"}
403 {"error":"Origin not allowed"}
403 {"error":"Permission denied"}
404 {"error":"Not Found"}
404 {"error":"Process not found"}
405 {"error":"Method Not Allowed"}
413 {"error":"Payload Too Large"}`.split('\n')

it('answers and records random requests as the README says', async (context) => {
  needsLinux(context)
  const answers = await compareWithOracle({ requests: 3000, seed: randomSeed() })
  expect(answers.length).toBeGreaterThanOrEqual(3000)
  // The random requests reach all that an idle server on Linux answers.
  expect(answers).toEqual(expect.arrayContaining(EVERY_ANSWER))
})
