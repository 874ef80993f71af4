/** A small quota of a whole project, and three instances that fetch out of it: used, never overdrawn. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { settled } from '../mail/acceptance/support.ts'
import { sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'

const PROJECT_PER_MIN = 6_000
const USERS = Array.from({ length: 12 }, (_, i) => `user${i}`)
const MAILS = 30

/** Backfills twelve mailboxes while two instances join and one leaves; what the simulator's ledger says of it. */
async function backfill(configuredPerMin: number) {
  const env = { MAIL_GMAIL_PROJECT_UNITS_PER_MIN: String(configuredPerMin), MAIL_SYNC_INTERVAL_MS: '10000' }
  await using box = await sandbox({ simulator: { projectPerMin: PROJECT_PER_MIN }, env })
  const nc = await box.connection('service')
  const used = (units: number): Promise<unknown> =>
    until(`${units} units are used`, () => totalOf(box.sim.ledger()) >= units, { timeoutMs: 120_000 })
  const a = await box.start('a')
  for (const user of USERS) await box.connect(nc, user, 'google', { n: MAILS })
  await used(500)
  await box.start('b')
  await box.start('c')
  await used(4_000)
  await a.stop()
  await box.allLive(nc, USERS, 240_000)
  await settled(box, nc, USERS, 'after the backfill')
  return box.sim.ledger()
}
const totalOf = ({ mailboxes }: { mailboxes: Record<string, { total: number }> }): number =>
  Object.values(mailboxes).reduce((sum, { total }) => sum + total, 0)

test('instances that come and go share the quota of a project and never overdraw it', async (t) => {
  const { overdraft, project } = await backfill(PROJECT_PER_MIN)
  t.diagnostic(`at most ${project.peak} of ${PROJECT_PER_MIN} units in a minute`)
  assert.deepEqual({ overdraft, refused: project.refused }, { overdraft: 0, refused: 0 })
  assert.ok(project.peak > 0.6 * PROJECT_PER_MIN, `${project.peak} units`)
})

test('control: each with the quota of all they overdraw it, and still lose and double nothing', async (t) => {
  const { overdraft, project } = await backfill(3 * PROJECT_PER_MIN)
  t.diagnostic(`overdraft ${overdraft}, refused ${project.refused}`)
  assert.ok(overdraft > 0)
})
