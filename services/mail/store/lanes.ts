/** Positions of the provider's lanes, one row each. Their cursors are opaque here. */

import { PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef, LaneState } from '../base/model.ts'
import { and, eq, sql } from './drizzle.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { syncLanes } from './schema/user.ts'

const { placeholder } = sql
const ofAccount = and(eq(syncLanes.provider, placeholder('provider')), eq(syncLanes.inboxId, placeholder('inboxId')))
const keyOf = ({ provider, inboxId }: AccountRef) => ({ provider: PROVIDER_UPPER[provider], inboxId })

const selectLanes = prepareRead((db) => db.select().from(syncLanes).where(ofAccount).orderBy(syncLanes.lane).prepare())
const upsertLane = prepareWrite((db) =>
  db
    .insert(syncLanes)
    .values({
      provider: placeholder('provider'),
      inboxId: placeholder('inboxId'),
      lane: placeholder('lane'),
      cursor: placeholder('cursor'),
      done: placeholder('done'),
      notBeforeMs: placeholder('notBeforeMs'),
      failures: placeholder('failures'),
      syncedMs: placeholder('syncedMs'),
      resets: placeholder('resets'),
      resetMs: placeholder('resetMs'),
    })
    .onConflictDoUpdate({
      target: [syncLanes.provider, syncLanes.inboxId, syncLanes.lane],
      set: {
        cursor: sql`excluded.cursor`,
        done: sql`excluded.done`,
        notBeforeMs: sql`excluded.not_before_ms`,
        failures: sql`excluded.failures`,
        syncedMs: sql`excluded.synced_ms`,
        resets: sql`excluded.resets`,
        resetMs: sql`excluded.reset_ms`,
      },
    })
    .prepare(),
)
const deleteOne = prepareWrite((db) =>
  db
    .delete(syncLanes)
    .where(and(ofAccount, eq(syncLanes.lane, placeholder('lane'))))
    .prepare(),
)
const deleteAll = prepareWrite((db) => db.delete(syncLanes).where(ofAccount).prepare())

/** The account's lanes by name. */
export function readLanes(reader: UserReader, account: AccountRef): LaneState[] {
  const rows = selectLanes(reader).all(keyOf(account))
  return rows.map(({ provider: _provider, inboxId: _inboxId, ...lane }) => lane)
}

/** Writes one lane, new or moved. */
export function putLane(tx: UserTx, account: AccountRef, lane: LaneState): void {
  upsertLane(tx).run({ ...lane, ...keyOf(account) })
}

export function deleteLane(tx: UserTx, account: AccountRef, lane: string): void {
  deleteOne(tx).run({ ...keyOf(account), lane })
}

/** Makes these the account's lanes and no others. */
export function replaceLanes(tx: UserTx, account: AccountRef, lanes: readonly LaneState[]): void {
  deleteAll(tx).run(keyOf(account))
  for (const lane of lanes) putLane(tx, account, lane)
}
