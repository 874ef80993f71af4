/** Accepted when: what a provider does wrong is waited for, told, and healed by itself, each mail once. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AccountStatus } from '#shared/contract.ts'
import type { ProviderName } from '#shared/subjects.ts'
import type { Fault } from '../../simulator/types.ts'
import { eventsOf } from '../../support/ledger.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { requests, SEED, settled, untilStatus } from './support.ts'

const BUSY: Record<ProviderName, string> = { google: 'gmail.messages.get', microsoft: 'graph.messages.delta' }
const POLL: Record<ProviderName, string> = { google: 'gmail.history.list', microsoft: 'graph.mailFolders.delta' }
const PROVIDERS = ['google', 'microsoft'] as const
/** Too many requests, and an outage that names its end. */
const PAUSES = { google: '429', microsoft: '503' } as const

test('an announced pause is kept to the second, across a kill and a restart', async () => {
  await using box = await sandbox({ simulator: { seed: SEED, pageSizeGraph: 10 } })
  const nc = await box.connection('service')
  const a = await box.spawn('a')
  for (const provider of PROVIDERS)
    box.sim.faults.add({ match: { route: BUSY[provider], nth: 10 }, fault: { type: PAUSES[provider], retryAfter: 4 } })
  await box.connect(nc, 'ada', 'google', { n: 150 })
  await box.connect(nc, 'grace', 'microsoft', { n: 150 })
  await untilStatus(box, nc, 'ada', 'google', 'throttled', ({ state }) => state === 'throttled')
  await untilStatus(box, nc, 'grace', 'microsoft', 'throttled', ({ state }) => state === 'throttled')
  await a.kill('SIGKILL')
  await box.spawn('a')
  const { last_error } = await untilStatus(box, nc, 'ada', 'google', 'throttled still', ({ live }) => live)
  assert.equal(last_error?.code ?? 'THROTTLED', 'THROTTLED')
  await settled(box, nc, ['ada', 'grace'], 'after the pause')
  assert.equal(box.sim.ledger().earlyRetries, 0)
})

for (const provider of PROVIDERS) {
  const expire: Fault =
    provider === 'google' ? { type: 'expireHistory' } : { type: 'expireDelta', code: 'SyncStateNotFound' }
  const route = provider === 'google' ? POLL.google : BUSY.microsoft

  test(`${provider}: a position that is forgotten during the backfill loses nothing and doubles nothing`, async () => {
    await using box = await sandbox({ simulator: { seed: SEED, pageSizeGraph: 10 } })
    const nc = await box.connection('service')
    await box.start('a')
    box.sim.faults.add({ match: { route, nth: provider === 'google' ? 2 : 8 }, fault: expire })
    await box.connect(nc, 'ada', provider, { n: 400 })
    await settled(box, nc, ['ada'], `${provider} expired during the backfill`)
    assert.equal(requests(box, route).filter(({ fault }) => fault === expire.type).length, 1)
  })

  test(`${provider}: a position that is forgotten after the backfill brings only the mail that is new`, async () => {
    await using box = await sandbox({ simulator: { seed: SEED } })
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    await box.start('a')
    await box.connect(nc, 'ada', provider, { n: 100 })
    await box.allLive(nc, ['ada'])
    const before = await eventsOf(ops, 'ada')
    box.sim.faults.add({ match: { route }, fault: expire, times: 1 })
    const id = box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider })
    await until('it has expired', () => requests(box, route).some(({ fault }) => fault === expire.type))
    await settled(box, nc, ['ada'], `${provider} expired after the backfill`)
    const after = await eventsOf(ops, 'ada')
    assert.deepEqual(
      after.slice(before.length).map(({ event }) => event.provider_message_id),
      [id],
    )
  })
}

const DOWN: { fault: Fault; title: string }[] = [
  { fault: { type: '500' }, title: 'answers 500' },
  { fault: { type: '503' }, title: 'answers 503' },
  { fault: { type: 'truncate', mode: 'content-length' }, title: 'breaks off its answers' },
  { fault: { type: 'truncate', mode: 'clean' }, title: 'cuts its answers short' },
  { fault: { type: 'reset', when: 'before' }, title: 'resets connections' },
  { fault: { type: 'htmlOk' }, title: 'answers with a page of HTML' },
]
for (const { fault, title } of DOWN)
  test(`a provider that ${title}: retrying with PROVIDER_DOWN, healed by itself, each mail once`, async () => {
    await using box = await sandbox({ simulator: { seed: SEED, pageSizeGraph: 10 } })
    const nc = await box.connection('service')
    await box.start('a')
    for (const provider of PROVIDERS) await box.connect(nc, provider, provider, { n: 60 })
    await box.allLive(nc, PROVIDERS)
    for (const provider of PROVIDERS) {
      box.sim.faults.add({ match: { provider }, fault })
      box.sim.mutate({ type: 'deliver', user: box.simUser(provider), provider })
    }
    for (const provider of PROVIDERS) {
      const isDown = (status: AccountStatus): boolean => status.last_error?.code === 'PROVIDER_DOWN'
      const { last_error, state } = await untilStatus(box, nc, provider, provider, 'PROVIDER_DOWN', isDown)
      assert.equal(state, 'retrying')
      assert.ok(last_error !== null && last_error.count >= 1 && last_error.retry_at !== null)
    }
    box.sim.faults.clear()
    await settled(box, nc, PROVIDERS, title)
  })

test('messages that are refused, of the wrong shape or not to be had are set aside and told; all others are there; they come when they are well', async () => {
  await using box = await sandbox({ simulator: { seed: SEED, pageSizeGraph: 10 } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  await box.connect(nc, 'grace', 'microsoft', { n: 40 })
  await box.allLive(nc, ['grace'])
  for (const [nth, fault] of [
    [10, { type: '400precondition' }],
    [15, { type: '500' }],
    [20, { type: 'wrongType' }],
  ] as const)
    box.sim.faults.add({ match: { route: 'gmail.messages.get', nth }, fault })
  box.sim.faults.add({ match: { route: 'graph.messages.delta' }, fault: { type: 'partialItems' } })
  box.sim.faults.add({ match: { route: 'graph.messages.get', nth: 1 }, fault: { type: 'wrongType' } })
  await box.connect(nc, 'ada', 'google', { n: 60 })
  for (let mail = 0; mail < 2; mail++) box.sim.mutate({ type: 'deliver', user: 'grace-primary', provider: 'microsoft' })

  for (const [user, provider, count] of [
    ['ada', 'google', 3],
    ['grace', 'microsoft', 1],
  ] as const) {
    const what = `${count} set aside`
    const { last_error } = await untilStatus(
      box,
      nc,
      user,
      provider,
      what,
      ({ state, set_aside }) => state === 'retrying' && set_aside === count,
    )
    assert.deepEqual([last_error?.code, last_error?.count], ['MESSAGE_SET_ASIDE', count])
  }
  await until('all others are there', async () => (await box.ledger(ops)).lost.length === 4)
  // The first delay of a message that was set aside is five seconds.
  await settled(box, nc, ['ada', 'grace'], 'set aside and fetched again')
})
