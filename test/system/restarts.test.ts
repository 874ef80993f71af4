/** Accepted when: a rolling restart under load, and NATS away for longer than the silence, lose nothing; nobody changes owner for NATS. */
import { test } from 'node:test'
import { natsAwayForAll, rollingRestart } from '../mail/acceptance/restarts.ts'

const SILENCE_MS = 2_000

test('all instances are restarted with SIGTERM, one after another, while mail arrives', async (t) => {
  t.diagnostic(await rollingRestart('SIGTERM', 3, SILENCE_MS))
})

test('all instances are killed with -9, one after another, while mail arrives', async (t) => {
  t.diagnostic(await rollingRestart('SIGKILL', 3, SILENCE_MS))
})

test('NATS is away for three times the silence', async (t) => {
  t.diagnostic(await natsAwayForAll(3 * SILENCE_MS, SILENCE_MS))
})
