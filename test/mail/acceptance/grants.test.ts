/** Accepted when: a refused grant is told and waits for the user; a refused token is refreshed once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventsOf } from '../../support/ledger.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import {
  assertClean,
  connectWith,
  disconnect,
  leaseOwner,
  recordOf,
  requests,
  SEED,
  settled,
  untilStatus,
} from './support.ts'

const PROVIDERS = [
  { provider: 'google', route: 'gmail.history.list', token: 'google.token' },
  { provider: 'microsoft', route: 'graph.mailFolders.delta', token: 'microsoft.token' },
] as const

for (const { provider, route, token } of PROVIDERS) {
  test(`${provider}: invalid_grant while running stops the worker and asks for a new sign-in, which goes on`, async () => {
    await using box = await sandbox({ simulator: { seed: SEED } })
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    await box.start('a')
    await box.connect(nc, 'ada', provider, { n: 40 })
    await box.allLive(nc, ['ada'])
    box.sim.faults.add({ match: { route: token }, fault: { type: 'invalid_grant' } })
    box.sim.faults.add({ match: { route }, fault: { type: '401untilRefresh' }, times: 1 })
    const { last_error } = await untilStatus(
      box,
      nc,
      'ada',
      provider,
      'needs_reauth',
      ({ state }) => state === 'needs_reauth',
    )
    assert.equal(last_error?.code, 'AUTH_EXPIRED')
    assert.deepEqual((await box.status(nc, 'ada')).running_syncs, [])
    const asked = box.sim.log().length
    box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider })
    await untilStatus(box, nc, 'ada', provider, 'still needs_reauth', () => true)
    assert.equal(box.sim.log().length, asked, 'nothing is asked any more')

    box.sim.faults.clear()
    await connectWith(nc, 'ada', provider, box.sim.credentials('ada-primary', provider))
    await settled(box, nc, ['ada'], `${provider} signed in again`)
    await assertClean(box, ops, `${provider} signed in again`)
  })

  test(`${provider}: an account that needs a new sign-in can be disconnected, and its user is released`, async () => {
    await using box = await sandbox({ simulator: { seed: SEED } })
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    await box.start('a')
    await box.connect(nc, 'ada', provider, { n: 10 })
    await box.allLive(nc, ['ada'])
    box.sim.faults.add({ match: { route: token }, fault: { type: 'invalid_grant' } })
    box.sim.faults.add({ match: { route }, fault: { type: '401untilRefresh' }, times: 1 })
    await untilStatus(box, nc, 'ada', provider, 'needs_reauth', ({ state }) => state === 'needs_reauth')
    await disconnect(nc, 'ada', provider)
    await until('nobody owns the user', async () => (await leaseOwner(ops, 'ada')) === null)
    assert.equal((await recordOf(ops, 'ada', provider)).revoke, null)
  })

  test(`${provider}: an access token that is refused is refreshed exactly once, during the backfill and after it`, async () => {
    await using box = await sandbox({ simulator: { seed: SEED, pageSizeGraph: 10 } })
    const nc = await box.connection('service')
    await box.start('a')
    const busy = provider === 'google' ? 'gmail.messages.get' : 'graph.messages.delta'
    box.sim.faults.add({ match: { route: busy, nth: 12 }, fault: { type: '401untilRefresh' } })
    await box.connect(nc, 'ada', provider, { n: 200 })
    await settled(box, nc, ['ada'], `${provider} 401 during the backfill`)
    assert.equal(requests(box, token).length, 1)
    box.sim.faults.add({ match: { route }, fault: { type: '401untilRefresh' }, times: 1 })
    box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider })
    await until('it was refused', () => requests(box, route).some(({ status }) => status === 401))
    await settled(box, nc, ['ada'], `${provider} 401 after the backfill`)
    assert.equal(requests(box, token).length, 2)
  })
}

test('a mailbox that waits for a new sign-in is not in the way of the others of its user', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  await box.connect(nc, 'ada', 'google', { n: 20 })
  await box.connect(nc, 'ada', 'microsoft', { n: 20 })
  await box.allLive(nc, ['ada'])
  box.sim.faults.add({ match: { route: 'google.token' }, fault: { type: 'invalid_grant' } })
  box.sim.faults.add({ match: { route: 'gmail.history.list' }, fault: { type: '401untilRefresh' }, times: 1 })
  await untilStatus(box, nc, 'ada', 'google', 'needs_reauth', ({ state }) => state === 'needs_reauth')
  const id = box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider: 'microsoft' })
  await until('the other goes on', async () =>
    (await eventsOf(ops, 'ada')).some(({ event }) => event.provider_message_id === id),
  )
  assert.deepEqual((await box.status(nc, 'ada')).running_syncs, ['ada:primary:MICROSOFT'])
})
