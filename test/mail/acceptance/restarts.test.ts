/**
 * Accepted when: an instance that is restarted while mail arrives, and NATS away for longer than the silence, lose
 * nothing; for NATS nobody changes owner. The long runs are in test/system.
 */
import { describe, test } from 'node:test'
import { natsAwayForAll, rollingRestart } from './restarts.ts'

// Each has a server of its own, and most of their time is waiting.
describe('restarts', { concurrency: 2 }, () => {
  test('an instance of three is restarted while mail arrives', async (t) => {
    t.diagnostic(await rollingRestart('SIGTERM', 1, 1_000))
  })

  test('while NATS is away for longer than the silence nobody changes owner', async (t) => {
    t.diagnostic(await natsAwayForAll(8_000, 6_000))
  })
})
