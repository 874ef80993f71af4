/** NATS away in the middle of a backfill, for a while: what must hold when it is back. */
import assert from 'node:assert/strict'
import { setTimeout as pass } from 'node:timers/promises'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { assertOrder, eventsStored, SEED, settled } from './support.ts'

/** Stops NATS for `downMs` while two mailboxes are fetched, with mail that arrives meanwhile. */
export async function natsAway(downMs: number, signal: NodeJS.Signals): Promise<void> {
  await using box = await sandbox({ simulator: { pageSizeGraph: 10, seed: SEED } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const a = await box.spawn('a')
  await box.connect(nc, 'ada', 'google', { n: 500 })
  await box.connect(nc, 'grace', 'microsoft', { n: 500 })
  await until('the backfill is under way', async () => (await eventsStored(ops)) > 100, { everyMs: 5 })
  await box.nats.stop(signal)
  box.sim.mutate({ type: 'deliver', user: box.simUser('ada'), provider: 'google' })
  box.sim.mutate({ type: 'deliver', user: box.simUser('grace'), provider: 'microsoft' })
  await pass(downMs)
  assert.equal(a.child.exitCode, null, `the instance waits for NATS\n${a.lines.slice(-20).join('\n')}`)
  await box.nats.start()
  const about = `NATS away for ${downMs} ms by ${signal}`
  await settled(box, nc, ['ada', 'grace'], about).catch((error) => {
    throw new Error(`${about}; the instance says\n${a.lines.slice(-40).join('\n')}`, { cause: error })
  })
  for (const user of ['ada', 'grace']) await assertOrder(box, ops, 'a', user)
  box.sim.mutate({ type: 'deliver', user: box.simUser('ada'), provider: 'google' })
  await settled(box, nc, ['ada', 'grace'], `${about}, new mail`)
}
