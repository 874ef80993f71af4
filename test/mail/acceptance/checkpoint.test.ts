/**
 * A checkpoint never runs ahead of the events: an owner that stored a mail, could not publish it and is gone with its
 * disk has left positions from which the next owner finds that mail. With checkpoints written early it is lost.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import type { AccountStatus } from '#shared/contract.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { BUCKET_STATE, EVENT_STREAM, stateKey } from '#shared/subjects.ts'
import type { Controls } from '../../../services/mail/app/relay.ts'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import { eventsOf } from '../../support/ledger.ts'
import { startNatsServer } from '../../support/nats-server.ts'
import { startProxy } from '../../support/proxy.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { leaseOwner, requests, SEED, untilStatus } from './support.ts'

const FILLER = 'user.filler.email.filler'
const MAX_BYTES = 2 ** 20

/** A user that belongs to `a` as soon as `a` and `b` both live. */
const userOfA = (): string =>
  Array.from({ length: 100 }, (_, i) => `user${i}`).find((user) => desiredOwner(user, ['a', 'b']) === 'a') ?? ''

/** Fills the stream to its last hundred bytes: KV goes on, events have no room. */
async function fill(ops: NatsConnection): Promise<void> {
  const js = jetstream(ops)
  for (let bytes = 2 ** 18; bytes >= 64; )
    await js.publish(FILLER, new Uint8Array(bytes)).catch(() => {
      bytes /= 2
    })
}
async function makeRoom(ops: NatsConnection): Promise<void> {
  await (await jetstreamManager(ops)).streams.purge(EVENT_STREAM, { filter: FILLER })
}
/** How many events were waiting when the checkpoint was written. */
async function pendingAtCheckpoint(ops: NatsConnection, user: string): Promise<number> {
  const entry = await (await new Kvm(ops).open(BUCKET_STATE)).get(stateKey(user))
  const accounts = entry?.json<{ accounts: AccountStatus[] }>().accounts ?? []
  return accounts[0]?.outbox.pending ?? 0
}

/** Waits for some polls, which only the owner makes. */
async function hasPolled(box: Sandbox, owner: string): Promise<void> {
  const polled = requests(box, 'gmail.history.list').length
  await until(`${owner} has polled`, () => requests(box, 'gmail.history.list').length > polled + 3)
}

/** Answers how often the mail stands on the stream after the next owner has polled, and when the old one is back. */
async function goneWithItsDisk(controls: Controls): Promise<{ withoutA: number; withA: number }> {
  await using stack = new AsyncDisposableStack()
  const nats = stack.use(await startNatsServer())
  const proxy = stack.use(await startProxy(nats.port))
  const env = { MAIL_STREAM_MAX_BYTES: String(MAX_BYTES), MAIL_LEASE_SILENCE_MS: '1000' }
  const box: Sandbox = stack.use(await sandbox({ nats, simulator: { seed: SEED }, env }))
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const user = userOfA()
  // b had the user before, so that its database is there, and old.
  await box.start('b')
  await box.connect(nc, user, 'google', { n: 10 })
  await box.allLive(nc, [user])
  await box.start('a', { controls, env: { NATS_URL: `nats://127.0.0.1:${proxy.port}` } })
  await until('a owns the user', async () => (await leaseOwner(ops, user)) === 'a')
  await box.allLive(nc, [user])

  await fill(ops)
  const id = box.sim.mutate({ type: 'deliver', user: box.simUser(user), provider: 'google' })
  await untilStatus(box, nc, user, 'google', 'stored, no room', ({ last_error }) => last_error?.code === 'STREAM_FULL')
  if (controls.earlyCheckpoint === true)
    await until('the checkpoint has run ahead', async () => (await pendingAtCheckpoint(ops, user)) > 0)
  proxy.cut()
  await makeRoom(ops)
  await until('b owns the user', async () => (await leaseOwner(ops, user)) === 'b')
  await hasPolled(box, 'b')
  await box.allLive(nc, [user])
  const times = async (): Promise<number> =>
    (await eventsOf(ops, user)).filter(({ event }) => event.provider_message_id === id).length
  const withoutA = await times()
  proxy.heal()
  await until('a owns the user again', async () => (await leaseOwner(ops, user)) === 'a')
  // Until it works the status is the one that b wrote down.
  await until('the mail is on the stream', async () => (await times()) > 0)
  await hasPolled(box, 'a')
  await box.allLive(nc, [user])
  return { withoutA, withA: await times() }
}

test('a mail that was stored and not published is found by the next owner without the disk, and stays the only one', async () => {
  assert.deepEqual(await goneWithItsDisk({}), { withoutA: 1, withA: 1 })
})
test('control: with checkpoints written before the events it is lost unless the disk comes back', async () => {
  assert.deepEqual(await goneWithItsDisk({ earlyCheckpoint: true }), { withoutA: 0, withA: 1 })
})
