/**
 * Accepted when: mail that arrives, moves between folders or labels and is deleted while the backfill runs is there exactly
 * once if it stayed; a move is no new mail; what comes out of spam or trash is, once.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ProviderName } from '#shared/subjects.ts'
import type { Simulator } from '../../simulator/simulator.ts'
import type { Mutation, Paging } from '../../simulator/types.ts'
import { eventsOf } from '../../support/ledger.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { dice, requests, SEED, settled } from './support.ts'

const CHANGES = 250

/** Changes the mailbox once per answer of the provider, `CHANGES` times: between any two requests of the backfill. */
function meddler(provider: ProviderName, user: string) {
  const throwOf = dice(SEED)
  const of = { user, provider } as const
  const made: Mutation['type'][] = []
  let live: string[] | null = null
  const change = (sim: Simulator): Mutation | null => {
    live ??= [sim.truth(user, provider).must, sim.truth(user, provider).mustNot].flat()
    const id = live[throwOf(0, live.length - 1)]
    if (id === undefined) return null
    const spam = provider === 'google' ? { labels: ['SPAM'] } : { folder: 'junkemail' }
    const kinds: Mutation[] = [
      { type: 'deliver', ...of },
      { type: 'deliver', ...of, ...spam },
      { type: 'unspam', ...of, id },
      { type: 'trash', ...of, id },
      { type: 'move', ...of, id, to: provider === 'google' ? 'Receipts' : 'archive' },
      { type: 'move', ...of, id, to: provider === 'google' ? 'INBOX' : `New/Folder ${throwOf(0, 3)}` },
      { type: 'markRead', ...of, id },
      { type: 'label', ...of, id, add: provider === 'google' ? ['STARRED'] : ['Red category'] },
      { type: 'delete', ...of, id },
    ]
    return kinds[throwOf(0, kinds.length - 1)] ?? null
  }
  return {
    made,
    meddle(sim: Simulator): void {
      if (made.length >= CHANGES) return
      const action = change(sim)
      if (action === null) return
      const after = sim.mutate(action)
      made.push(action.type)
      if (action.type === 'deliver') live?.push(after)
      if (action.type === 'delete') live = live?.filter((id) => id !== action.id) ?? null
    },
  }
}

/** Two pages of ids at Gmail, dozens of pages of mail at Graph. */
const MAILS: Record<ProviderName, number> = { google: 600, microsoft: 400 }

async function changesDuringBackfill(provider: ProviderName, paging: Paging): Promise<void> {
  const meddling = meddler(provider, 'ada-primary')
  let sim: Simulator | undefined
  const onAnswer = (route: string): void => {
    if (sim !== undefined && /messages|history|delta/.test(route)) meddling.meddle(sim)
  }
  await using box = await sandbox({ simulator: { paging, seed: SEED, pageSizeGraph: 7, onAnswer } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  sim = box.sim
  await box.connect(nc, 'ada', provider, { n: MAILS[provider] })
  await until('all changes are made', () => meddling.made.length === CHANGES)
  await settled(box, nc, ['ada'], `${provider} ${paging}`)

  const before = (await eventsOf(ops, 'ada')).length
  const moved = box.sim.truth('ada-primary', provider).must.slice(0, 20)
  for (const id of moved)
    box.sim.mutate({
      type: 'move',
      user: 'ada-primary',
      provider,
      id,
      to: provider === 'google' ? 'Receipts' : 'Elsewhere/Deep',
    })
  // A mail delivered after the moves is seen after them: by then they had their chance to be taken for new.
  box.sim.mutate({
    type: 'deliver',
    user: 'ada-primary',
    provider,
    ...(provider === 'microsoft' && { folder: 'Elsewhere/Deep' }),
  })
  await settled(box, nc, ['ada'], `${provider} ${paging}, moved`)
  assert.equal((await eventsOf(ops, 'ada')).length, before + 1, 'a move is no new mail')
  assert.ok(requests(box, 'unexpected').length === 0)
}

for (const paging of ['keyset', 'offset'] as const) {
  test(`Gmail with ${paging} paging: what changes during the backfill and stays is there exactly once`, () =>
    changesDuringBackfill('google', paging))
  test(`Graph with ${paging} paging: what changes during the backfill and stays is there exactly once`, () =>
    changesDuringBackfill('microsoft', paging))
}
