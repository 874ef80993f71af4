/** Accepted when: a mailbox of 10,000 mails under every fault at five percent ends whole. */
import { test } from 'node:test'
import { fivePercent } from '../catalogue/five-percent.ts'

for (const provider of ['google', 'microsoft'] as const)
  test(`all faults: ${provider}: 10,000 mails with every fault at 5 %: each is there once, nothing waits, nobody was hurried`, async () => {
    await fivePercent(provider, 10_000, 1)
  })
