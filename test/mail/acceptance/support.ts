/**
 * What the acceptance tests share: a seed that is printed, the clean ledger, the order on the stream against the owner's
 * tables, and looks into databases, buckets and the simulator's log. It starts nothing by itself.
 */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import SqliteDatabase from 'better-sqlite3'
import type { AccountStatus } from '#shared/contract.ts'
import { requestOperation } from '#shared/control-client.ts'
import type { NatsConnection } from '#shared/nats.ts'
import {
  accountKey,
  BUCKET_ACCOUNTS,
  BUCKET_LEASES,
  bucketStream,
  EVENT_STREAM,
  leaseKey,
  type ProviderName,
  sessionKey,
} from '#shared/subjects.ts'
import { encodeUser } from '#shared/user-token.ts'
import type { AccountRecord } from '../../../services/mail/kv/account-record.ts'
import { unit } from '../../simulator/random.ts'
import type { Credentials, LogEntry } from '../../simulator/types.ts'
import { eventsOf, type Ledger } from '../../support/ledger.ts'
import type { Sandbox } from '../../support/sandbox.ts'
import { answered, until } from '../../support/until.ts'

/** Seed of everything random in a test; another one by TEST_SEED. Every failure names it. */
export const SEED = Number(process.env.TEST_SEED ?? 7)

/** Whole numbers from `low` to `high`, both included, the same for the same seed. */
export function dice(seed: number): (low: number, high: number) => number {
  let throws = 0
  return (low, high) => low + Math.floor(unit(seed, throws++, 99) * (high - low + 1))
}

/** Nothing lost, nothing twice, nothing that never was an event. */
export async function assertClean(box: Sandbox, ops: NatsConnection, about: string): Promise<void> {
  assertCleanLedger(await box.ledger(ops), about)
}
function assertCleanLedger({ lost, twice, wrong, line }: Ledger, about: string): void {
  assert.deepEqual({ lost, twice, wrong }, { lost: [], twice: [], wrong: [] }, `${about}: ${line} (TEST_SEED=${SEED})`)
}

/** Waits until every mail that stayed is on the stream, then holds the ledger to being clean. */
export async function settled(
  box: Sandbox,
  nc: NatsConnection,
  users: readonly string[],
  about: string,
): Promise<void> {
  const ops = await box.connection('ops')
  await box.allLive(nc, users, 90_000)
  // A cluster on a busy machine takes its time for thousands of events.
  const isSent = async (user: string): Promise<boolean> =>
    (await box.status(nc, user)).accounts.every(({ outbox }) => outbox.pending === 0)
  for (const user of users)
    await until(`${about}: the outbox of ${user} is empty`, () => isSent(user), { timeoutMs: 120_000, everyMs: 200 })
  const lostNothing = async (): Promise<Ledger | null> => {
    const ledger = await box.ledger(ops)
    return ledger.lost.length === 0 ? ledger : null
  }
  // Each event is asked for by itself: thousands of requests for one look.
  const look = { timeoutMs: 120_000, everyMs: 200 }
  assertCleanLedger(await until(`${about}: nothing is lost`, lostNothing, look), about)
}

/** The user's database as it stands at an instance, read-only. */
export function readUserDb<T>(
  box: Sandbox,
  instance: string,
  userId: string,
  read: (db: SqliteDatabase.Database) => T,
): T {
  return readDb(join(box.dir, instance, 'users', encodeUser(userId), 'events.db'), read)
}
export function readDb<T>(file: string, read: (db: SqliteDatabase.Database) => T): T {
  const db = new SqliteDatabase(file, { readonly: true, fileMustExist: true })
  try {
    return read(db)
  } finally {
    db.close()
  }
}
export const storedRows = (box: Sandbox, instance: string, userId: string): number =>
  readUserDb(
    box,
    instance,
    userId,
    (db) => db.prepare('SELECT count(*) FROM email_received_events').pluck().get() as number,
  )
export const sealedRows = (box: Sandbox, instance: string, userId: string): number =>
  readDb(join(box.dir, instance, 'auth.db'), (db) =>
    db.prepare('SELECT count(*) FROM oauth_tokens WHERE user_id = ?').pluck().get(userId),
  ) as number

/** The user's events stand on the stream in the order of their outbox ids and of their rows. For a user with one owner. */
export async function assertOrder(box: Sandbox, ops: NatsConnection, instance: string, userId: string): Promise<void> {
  const onStream = (await eventsOf(ops, userId)).map(({ msgId }) => msgId)
  const [outbox, rows] = readUserDb(box, instance, userId, (db) => [
    db.prepare('SELECT msg_id FROM outbox ORDER BY id').pluck().all(),
    db.prepare('SELECT event_id FROM email_received_events ORDER BY rowid').pluck().all(),
  ])
  assert.deepEqual(onStream, outbox, `${userId}: the stream has the order of the outbox (TEST_SEED=${SEED})`)
  assert.deepEqual(onStream, rows, `${userId}: the stream has the order of storing (TEST_SEED=${SEED})`)
}

/** Highest sequence of a stream, or of the stream behind a bucket. */
export async function lastSeq(ops: NatsConnection, stream: string): Promise<number> {
  return await answered(async () => (await (await jetstreamManager(ops)).streams.info(stream)).state.last_seq)
}
export const lastSeqOfBucket = (ops: NatsConnection, bucket: string): Promise<number> =>
  lastSeq(ops, bucketStream(bucket))
export const eventsStored = (ops: NatsConnection): Promise<number> => lastSeq(ops, EVENT_STREAM)

/** The account's record in `mail_accounts`. */
export async function recordOf(
  ops: NatsConnection,
  userId: string,
  provider: ProviderName,
  inboxId = 'primary',
): Promise<AccountRecord> {
  const kv = await answered(() => new Kvm(ops).open(BUCKET_ACCOUNTS))
  const entry = await answered(() => kv.get(accountKey(userId, provider, inboxId)))
  if (entry === null) throw new Error(`no record of ${userId} ${provider} ${inboxId}`)
  return entry.json()
}

/** Name of the instance that the user's lease names; null while nobody alive owns the user. */
export async function leaseOwner(ops: NatsConnection, userId: string): Promise<string | null> {
  const kv = await answered(() => new Kvm(ops).open(BUCKET_LEASES))
  const lease = await answered(() => kv.get(leaseKey(userId)))
  const owner = lease?.json<{ owner: string | null }>().owner ?? null
  const session = owner === null ? null : await answered(() => kv.get(sessionKey(owner)))
  if (session === null || session.operation !== 'PUT') return null
  const { name, state } = session.json<{ name: string; state: string }>()
  return state === 'dead' ? null : name
}

/** Revision of the user's lease: the epoch of the owner. */
export async function leaseRevision(ops: NatsConnection, userId: string): Promise<number | null> {
  const kv = await answered(() => new Kvm(ops).open(BUCKET_LEASES))
  return (await answered(() => kv.get(leaseKey(userId))))?.revision ?? null
}

/** Connects an inbox with tokens that exist already: a second sign-in, or somebody else's mailbox. */
export async function connectWith(
  nc: NatsConnection,
  userId: string,
  provider: ProviderName,
  { access_token, refresh_token, expires_in }: Credentials,
  inboxId = 'primary',
): Promise<void> {
  const body = { provider, access_token, refresh_token, expires_in, inbox_id: inboxId }
  await requestOperation(nc, 'connect', { asUser: userId, body, requestId: 'test' })
}
export async function disconnect(
  nc: NatsConnection,
  userId: string,
  provider: ProviderName,
  inboxId = 'primary',
): Promise<void> {
  const body = { provider, inbox_id: inboxId }
  await requestOperation(nc, 'disconnect', { asUser: userId, body, requestId: 'test' })
}

/** The status of one account; throws while there is none. */
export async function accountOf(
  box: Sandbox,
  nc: NatsConnection,
  userId: string,
  provider: ProviderName,
  inboxId = 'primary',
): Promise<AccountStatus> {
  const { accounts } = await box.status(nc, userId)
  const found = accounts.find((account) => account.provider === provider && account.inbox_id === inboxId)
  if (found === undefined) throw new Error(`status names no ${provider} ${inboxId} of ${userId}`)
  return found
}

/** Waits until the account's status satisfies `fits`; what was seen last is in the error. */
export async function untilStatus(
  box: Sandbox,
  nc: NatsConnection,
  userId: string,
  provider: ProviderName,
  what: string,
  fits: (status: AccountStatus) => boolean,
  timeoutMs = 20_000,
): Promise<AccountStatus> {
  return await until(
    `${userId} ${provider}: ${what}`,
    async () => {
      const status = await accountOf(box, nc, userId, provider)
      if (!fits(status)) throw new Error(JSON.stringify(status))
      return status
    },
    { timeoutMs, everyMs: 50 },
  )
}

/** Requests in the simulator's log. */
export const requests = (box: Sandbox, route: string, mailbox?: string): LogEntry[] =>
  box.sim.log().filter((entry) => entry.route === route && (mailbox === undefined || entry.mailbox === mailbox))
