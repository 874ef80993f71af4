/** Accepted when: after a lost JetStream accounts come back from auth.db, new mail arrives once, old mail not again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { NatsConnection } from '#shared/nats.ts'
import { ROWS } from '../../../services/mail/outbox/publish-batch.ts'
import { eventsOf } from '../../support/ledger.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { assertClean, readUserDb, SEED, untilStatus } from './support.ts'

const ACCOUNTS = [
  ['ada', 'google'],
  ['grace', 'microsoft'],
] as const
const USERS = ACCOUNTS.map(([user]) => user)

async function connected(box: Sandbox, n: number): Promise<{ nc: NatsConnection; ops: NatsConnection }> {
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  for (const [user, provider] of ACCOUNTS) await box.connect(nc, user, provider, { n })
  return { nc, ops }
}

const outboxOf = (box: Sandbox, user: string, where: string): string[] =>
  readUserDb(box, 'a', user, (db) => db.prepare(`SELECT msg_id FROM outbox WHERE ${where}`).pluck().all() as string[])

/** One new mail each; it alone stands on the new stream, and status tells why. */
async function onlyNewMail(box: Sandbox, nc: NatsConnection, ops: NatsConnection): Promise<void> {
  await box.allLive(nc, USERS)
  for (const [user, provider] of ACCOUNTS) {
    const id = box.sim.mutate({ type: 'deliver', user: box.simUser(user), provider })
    const events = await until(
      `${user}'s new mail`,
      async () => {
        const all = await eventsOf(ops, user)
        return all.some(({ event }) => event.provider_message_id === id) && all
      },
      { timeoutMs: 15_000 },
    )
    assert.deepEqual(
      events.map(({ event }) => event.provider_message_id),
      [id],
      `${user}: old mail is not published again`,
    )
    const { stream_reset } = await untilStatus(box, nc, user, provider, 'live', ({ state }) => state === 'live')
    assert.equal(stream_reset, true, 'status tells that the stream was lost')
  }
}

test('the JetStream directory deleted and everything restarted: new mail arrives once, old mail is not published again', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  const a = await box.spawn('a')
  const { nc, ops } = await connected(box, 80)
  await box.allLive(nc, USERS)
  assert.equal(await a.kill('SIGTERM'), 0)
  await box.nats.wipe()
  await box.nats.start()
  await box.spawn('a')
  await onlyNewMail(box, nc, ops)
})

test('the JetStream directory deleted under a running instance: new mail arrives once, old mail is not published again', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  await box.spawn('a')
  const { nc, ops } = await connected(box, 80)
  await box.allLive(nc, USERS)
  await box.nats.wipe()
  await box.nats.start()
  await onlyNewMail(box, nc, ops)
})

test('the JetStream directory deleted during a backfill: what was marked as published is not published again, all else is', async () => {
  await using box = await sandbox({ simulator: { seed: SEED, pageSizeGraph: 10 } })
  await box.spawn('a')
  const { nc, ops } = await connected(box, 400)
  const markedOf = (user: string) => outboxOf(box, user, 'published_at IS NOT NULL')
  // What the stream has is not marked yet: of a whole batch the answer may be lost with the server.
  const isUnderWay = (): boolean => USERS.map((user) => markedOf(user).length).some((n) => n > 0)
  await until('the backfill is under way', isUnderWay, { everyMs: 5 })
  await box.nats.wipe()
  const marked = new Map(USERS.map((user) => [user, new Set(markedOf(user))]))
  await box.nats.start()
  await box.allLive(nc, USERS)
  for (const user of USERS) {
    const before = marked.get(user) ?? new Set()
    const after = (await eventsOf(ops, user)).map(({ msgId }) => msgId)
    assert.equal(new Set(after).size, after.length, `${user}: nothing twice on the new stream`)
    assert.deepEqual(
      after.filter((id) => before.has(id)),
      [],
      `${user}: nothing again that was published`,
    )
    const nowhere = outboxOf(box, user, 'true').filter((id) => !before.has(id) && !after.includes(id))
    assert.ok(
      nowhere.length <= ROWS,
      `${user}: at most what the relay takes at a time was acknowledged and not marked yet`,
    )
  }
  assert.ok([...marked.values()].some((ids) => ids.size > 0))
})

test('with MAIL_ON_NEW_STREAM=republish everything stands on the new stream, each mail once', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, env: { MAIL_ON_NEW_STREAM: 'republish' } })
  await box.spawn('a')
  const { nc, ops } = await connected(box, 80)
  await box.allLive(nc, USERS)
  await box.nats.wipe()
  await box.nats.start()
  await until('the old mail stands there again', async () => (await box.ledger(ops)).lost.length === 0)
  await box.allLive(nc, USERS)
  await assertClean(box, ops, 'republished')
})
