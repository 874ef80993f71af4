/** Accepted when: disconnect stops, revokes and forgets; connecting again goes on; an inbox stays bound to its mailbox. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '#shared/errors.ts'
import { eventsOf } from '../../support/ledger.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import {
  accountOf,
  assertClean,
  connectWith,
  disconnect,
  leaseOwner,
  recordOf,
  requests,
  SEED,
  sealedRows,
  settled,
  storedRows,
  untilStatus,
} from './support.ts'

const inFlight = (box: Awaited<ReturnType<typeof sandbox>>, key: string): number =>
  box.sim.ledger().mailboxes[key]?.inflight ?? 0
const refusedWith = (code: string) => (error: unknown) => error instanceof AppError && error.code === code

test('disconnect aborts what is under way, revokes the grant and deletes the tokens on every instance; mail stays', async (t) => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await Promise.all([box.start('a'), box.start('b')])
  box.sim.faults.add({ match: { route: 'gmail.messages.get', every: 120 }, fault: { type: 'hang' } })
  await box.connect(nc, 'ada', 'google', { n: 300 })
  await until('a request hangs', () => requests(box, 'gmail.messages.get').some(({ fault }) => fault === 'hang'))
  await until('both instances hold the tokens', () => sealedRows(box, 'a', 'ada') + sealedRows(box, 'b', 'ada') === 2)
  const owner = (await leaseOwner(ops, 'ada')) ?? ''
  const stored = storedRows(box, owner, 'ada')

  await disconnect(nc, 'ada', 'google')
  const disconnectedMs = performance.now()
  await until('in-flight calls are aborted', () => inFlight(box, 'google:ada-primary') === 0)
  t.diagnostic(
    `aborted ${Math.round(performance.now() - disconnectedMs)} ms after disconnect; the call would have hung 30 s`,
  )
  await until('the grant is revoked', async () => (await recordOf(ops, 'ada', 'google')).revoke === null)
  assert.deepEqual(
    requests(box, 'google.revoke').map(({ status }) => status),
    [200],
  )
  assert.equal((await recordOf(ops, 'ada', 'google')).credential, null)
  await until('no instance has tokens', () => sealedRows(box, 'a', 'ada') + sealedRows(box, 'b', 'ada') === 0)
  await until('nobody owns the user', async () => (await leaseOwner(ops, 'ada')) === null)
  assert.deepEqual(await box.status(nc, 'ada'), { user_id: 'ada', running_syncs: [], accounts: [] })
  assert.ok(storedRows(box, owner, 'ada') >= stored && stored > 0, 'mail data stays')
  await disconnect(nc, 'ada', 'google')

  const before = await eventsOf(ops, 'ada')
  assert.equal(before.length, storedRows(box, owner, 'ada'), 'the outbox was emptied first')
  box.sim.faults.clear()
  await connectWith(nc, 'ada', 'google', box.sim.credentials('ada-primary', 'google'))
  await settled(box, nc, ['ada'], 'connected again')
  assert.deepEqual(
    (await eventsOf(ops, 'ada')).slice(0, before.length),
    before,
    'nothing again, all after what was there',
  )
})

test('who signs in again right after a disconnect does not lose the new grant to the revocation of the old one', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  const nc = await box.connection('service')
  await box.start('a')
  await box.connect(nc, 'ada', 'google', { n: 5 })
  await box.allLive(nc, ['ada'])
  for (let again = 1; again <= 4; again++) {
    await disconnect(nc, 'ada', 'google')
    await connectWith(nc, 'ada', 'google', box.sim.credentials('ada-primary', 'google'))
    await untilStatus(box, nc, 'ada', 'google', `live again, ${again}`, ({ state }) => state === 'live')
  }
  assert.equal(requests(box, 'google.revoke').length, 4)
})

test('an account that is disconnected and connected again in one breath goes on', async () => {
  // Microsoft, which has no revocation that could be faster than the second sign-in.
  await using box = await sandbox({ simulator: { seed: SEED, pageSizeGraph: 5 } })
  const nc = await box.connection('service')
  await box.start('a')
  box.sim.faults.add({ match: { route: 'graph.messages.delta' }, fault: { type: 'delay', ms: 50 } })
  await box.connect(nc, 'ada', 'microsoft', { n: 120 })
  for (let round = 0; round < 5; round++) {
    const asked = requests(box, 'graph.messages.delta').length
    await until('mail is fetched', () => requests(box, 'graph.messages.delta').length > asked)
    await disconnect(nc, 'ada', 'microsoft')
    await connectWith(nc, 'ada', 'microsoft', box.sim.credentials('ada-primary', 'microsoft'))
  }
  await settled(box, nc, ['ada'], 'disconnected and connected five times')
})

test('a grant that another connected account needs is not revoked', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  await box.connect(nc, 'ada', 'google', { n: 20 })
  await connectWith(nc, 'grace', 'google', box.sim.credentials('ada-primary', 'google'))
  await box.allLive(nc, ['ada', 'grace'])
  assert.equal((await eventsOf(ops, 'grace')).length, (await eventsOf(ops, 'ada')).length, 'each has the mail once')
  await disconnect(nc, 'ada', 'google')
  await until('it is settled', async () => (await recordOf(ops, 'ada', 'google')).revoke === null)
  await until('the tokens are deleted', () => sealedRows(box, 'a', 'ada') === 0)
  assert.deepEqual(requests(box, 'google.revoke'), [])
  const id = box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider: 'google' })
  await until('the other goes on', async () =>
    (await eventsOf(ops, 'grace')).some(({ event }) => event.provider_message_id === id),
  )
  assert.ok(!(await eventsOf(ops, 'ada')).some(({ event }) => event.provider_message_id === id))
  await disconnect(nc, 'grace', 'google')
  await until('the last one is revoked', () => requests(box, 'google.revoke').length === 1)
})

test('an inbox stays bound to its mailbox, after a disconnect too; a mailbox has one inbox of a user', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  for (const provider of ['google', 'microsoft'] as const) {
    await box.connect(nc, 'ada', provider, { n: 20 })
    await box.connect(nc, 'ada', provider, { n: 20 }, 'work')
  }
  await settled(box, nc, ['ada'], 'two inboxes of a provider')
  for (const provider of ['google', 'microsoft'] as const) {
    const { mailbox } = await recordOf(ops, 'ada', provider)
    const work = box.sim.credentials('ada-work', provider)
    const another = box.sim.addMailbox({ user: 'another', provider, n: 1 })
    await assert.rejects(connectWith(nc, 'ada', provider, another), refusedWith('MAILBOX_MISMATCH'))
    await assert.rejects(connectWith(nc, 'ada', provider, work, 'third'), refusedWith('MAILBOX_ALREADY_CONNECTED'))
    await disconnect(nc, 'ada', provider)
    await assert.rejects(connectWith(nc, 'ada', provider, another), refusedWith('MAILBOX_MISMATCH'))
    assert.equal((await recordOf(ops, 'ada', provider)).mailbox, mailbox)
    await connectWith(nc, 'ada', provider, box.sim.credentials('ada-primary', provider))
  }
  await settled(box, nc, ['ada'], 'connected again')
  assert.equal((await accountOf(box, nc, 'ada', 'google', 'work')).state, 'live')
  assert.equal((await box.status(nc, 'ada')).running_syncs.length, 4)
  await assertClean(box, ops, 'two inboxes')
})
