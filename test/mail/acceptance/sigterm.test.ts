/** Accepted when: an instance that is told to stop answers what it was asked, and told twice ends at once, safely. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startProxy } from '../../support/proxy.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { eventsStored, leaseOwner, requests, SEED, settled } from './support.ts'

const USERS = ['ada', 'grace'] as const

const aBox = (): Promise<Sandbox> =>
  sandbox({ simulator: { pageSizeGraph: 20, seed: SEED }, env: { MAIL_DEDUPE_WINDOW_MS: '1000' } })

test('a second SIGTERM in the middle of a backfill ends it at once with its users still owned; the next brings all', async () => {
  await using box = await aBox()
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await using proxy = await startProxy(box.nats.port)
  const a = await box.spawn('a', { NATS_URL: `nats://127.0.0.1:${proxy.port}` })
  await box.connect(nc, 'ada', 'google', { n: 400 })
  await box.connect(nc, 'grace', 'microsoft', { n: 400 })
  await until('the backfill is under way', async () => (await eventsStored(ops)) >= 20, { everyMs: 1 })
  // It hears nothing of what it writes: the hand-over cannot end by itself.
  proxy.hold('toClient')
  a.child.kill('SIGTERM')
  await until('it stops', () => a.lines.some((line) => line.includes('a second signal exits at once')))
  assert.equal(await a.kill('SIGTERM'), 143)
  for (const user of USERS) assert.equal(await leaseOwner(ops, user), 'a')
  assert.ok((await eventsStored(ops)) < 800, 'it ended in the middle')
  await box.spawn('b')
  await settled(box, nc, USERS, 'after two SIGTERMs')
})

test('a request in flight at SIGTERM is answered, and the instance exits 0', async () => {
  await using box = await aBox()
  const nc = await box.connection('service')
  const a = await box.spawn('a')
  box.sim.faults.add({ match: { route: 'gmail.profile' }, fault: { type: 'delay', ms: 1_500 }, times: 1 })
  const answered = box.connect(nc, 'ada', 'google', { n: 20 })
  answered.catch(() => undefined)
  await until('the provider is being asked', () => requests(box, 'gmail.profile').length > 0, { everyMs: 1 })
  const exited = a.kill('SIGTERM')
  await answered
  assert.equal(await exited, 0)
  await box.spawn('b')
  await settled(box, nc, ['ada'], 'what the answer promised')
})
