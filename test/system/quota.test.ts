/** The quota of a new Google project, for a minute and more of backfill: used, never overdrawn, never asked too early. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { settled } from '../mail/acceptance/support.ts'
import { sandbox } from '../support/sandbox.ts'

const MAILS = 450
const GET_UNITS = 20

/** Backfills one Gmail mailbox against the quota of 2026-05 and answers what the simulator's ledger says of it. */
async function backfill(unitsPerMin: number) {
  const env = { MAIL_GMAIL_UNITS_PER_MIN: String(unitsPerMin), MAIL_SYNC_INTERVAL_MS: '5000' }
  await using box = await sandbox({ steady: true, simulator: { profile: '2026-05' }, env })
  const nc = await box.connection('service')
  await box.start('a')
  const startedMs = performance.now()
  await box.connect(nc, 'ada', 'google', { n: MAILS })
  await box.allLive(nc, ['ada'], 300_000)
  await settled(box, nc, ['ada'], 'after the backfill')
  const { overdraft, earlyRetries, mailboxes } = box.sim.ledger()
  const units = mailboxes['google:ada-primary']?.total ?? 0
  return { overdraft, earlyRetries, units, seconds: (performance.now() - startedMs) / 1_000 }
}

test('a backfill keeps within the quota of a new Google project and leaves no more of it unused than it means to', async (t) => {
  const { overdraft, earlyRetries, units, seconds } = await backfill(6_000)
  t.diagnostic(`${units} units in ${seconds.toFixed(0)} s; ${MAILS} mails need ${MAILS * GET_UNITS}`)
  assert.deepEqual({ overdraft, earlyRetries }, { overdraft: 0, earlyRetries: 0 })
  assert.ok(units < MAILS * GET_UNITS * 1.1, `${units} units`)
})

test('control: configured for ten times the quota the same backfill overdraws it, and still loses and doubles nothing', async (t) => {
  const { overdraft, earlyRetries, seconds } = await backfill(60_000)
  t.diagnostic(`overdraft ${overdraft}, ${seconds.toFixed(0)} s`)
  assert.ok(overdraft > 0)
  assert.equal(earlyRetries, 0, 'what the provider announces is kept all the same')
})
