/** Accepted when: a mailbox that is live and in which nothing happens costs polls, and no write to disk or KV. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { Kvm } from '@nats-io/kv'
import SqliteDatabase from 'better-sqlite3'
import type { NatsConnection } from '#shared/nats.ts'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE, stateKey } from '#shared/subjects.ts'
import { encodeUser } from '#shared/user-token.ts'
import { openLanes } from '../../../services/mail/kv/sealed-lanes.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { eventsStored, lastSeqOfBucket, leaseRevision, recordOf, requests, SEED } from './support.ts'

const POLLS = 6
const USERS = ['ada', 'grace'] as const

async function checkpointIsDone(ops: NatsConnection, user: (typeof USERS)[number]): Promise<boolean> {
  const provider = user === 'ada' ? 'google' : 'microsoft'
  const { positions_key: key = '' } = await recordOf(ops, user, provider)
  const entry = await (await new Kvm(ops).open(BUCKET_STATE)).get(stateKey(user))
  const sealed = entry?.json<{ lanes: Record<string, string> }>().lanes[`${provider}.primary`] ?? ''
  const lanes: { done: boolean }[] = JSON.parse(openLanes(key, `${user} ${provider}.primary`, sealed) ?? '[]')
  return lanes.length > 0 && lanes.every(({ done }) => done)
}

/** Polls so far of the mailbox that was polled least. */
const polls = (box: Sandbox): number =>
  Math.min(requests(box, 'gmail.history.list').length, requests(box, 'graph.mailFolders.delta').length)

test('six polls of live mailboxes in which nothing happens write nothing: not to KV, nor to the disk but the new links of Graph', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, env: { MAIL_SYNC_INTERVAL_MS: '150' } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  await box.connect(nc, 'ada', 'google', { n: 30 })
  await box.connect(nc, 'grace', 'microsoft', { n: 30 })
  await box.allLive(nc, USERS)
  using databases = new DisposableStack()
  const [ada, grace] = USERS.map((user) =>
    databases.adopt(
      new SqliteDatabase(join(box.dir, 'a', 'users', encodeUser(user), 'events.db'), { readonly: true }),
      (db) => db.close(),
    ),
  )
  const written = async () => ({
    // Changes whenever another connection commits.
    commits: ada?.pragma('data_version', { simple: true }),
    // A delta link counts up at each answer and the provider forgets the older ones, so the newest one is kept.
    lanes: grace?.prepare('SELECT lane, done, not_before_ms, failures, resets FROM sync_lanes ORDER BY lane').all(),
    rows: grace?.prepare('SELECT max(id) FROM outbox').pluck().get(),
    accounts: await lastSeqOfBucket(ops, BUCKET_ACCOUNTS),
    state: await lastSeqOfBucket(ops, BUCKET_STATE),
    leases: await Promise.all(USERS.map((user) => leaseRevision(ops, user))),
    events: await eventsStored(ops),
  })
  for (const user of USERS) await until('the end of the backfill is checkpointed', () => checkpointIsDone(ops, user))
  const beats = await lastSeqOfBucket(ops, BUCKET_LEASES)
  const [from, before] = [polls(box), await written()]
  await until('it was polled', () => polls(box) >= from + POLLS)
  assert.deepEqual(await written(), before)
  assert.ok((await lastSeqOfBucket(ops, BUCKET_LEASES)) > beats, 'heartbeats go on')

  box.sim.mutate({ type: 'deliver', user: 'ada-primary', provider: 'google' })
  await until('new mail does write', async () => (await eventsStored(ops)) === before.events + 1)
  assert.notDeepEqual((await written()).commits, before.commits)
})
