/** The main job, with every part real: connect, backfill, new mail, each event once and in order. */
import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
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

test('after a lost disk status counts what was read back from the stream', async () => {
  await using box = await sandbox()
  const first = await box.start('a')
  const nc = await box.connection('service')
  await box.connect(nc, 'grace', 'microsoft', { n: 60 })
  await box.allLive(nc, ['grace'])
  await first.stop()
  await rm(join(box.dir, 'a'), { recursive: true })
  await box.start('a')
  await box.allLive(nc, ['grace'])
  const [account] = (await box.status(nc, 'grace')).accounts
  assert.equal(account?.progress.done, box.sim.truth(box.simUser('grace'), 'microsoft').must.length)
})
