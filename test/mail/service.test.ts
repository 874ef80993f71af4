/** The main job, with every part real: connect, backfill, new mail, each event once and in order. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sandbox } from '../support/sandbox.ts'

test('a Gmail and an Outlook mailbox are put on the stream, each mail once', async () => {
  await using box = await sandbox()
  await box.start('a')
  const nc = await box.connection('service')
  const ops = await box.connection('ops')
  await box.connect(nc, 'ada', 'google', { n: 120 })
  await box.connect(nc, 'grace', 'microsoft', { n: 120 })
  await box.allLive(nc, ['ada', 'grace'])
  const ledger = await box.ledger(ops)
  assert.deepEqual({ lost: ledger.lost, twice: ledger.twice, wrong: ledger.wrong }, { lost: [], twice: [], wrong: [] })
  assert.ok(ledger.sent > 150, ledger.line)
})
