/** Positions of the provider's lanes, one row each. Their cursors are opaque here. */

import { PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef, LaneState } from '../base/model.ts'
import { and, eq } from './drizzle.ts'
import type { UserReader, UserTx } from './prepared.ts'
import { syncLanes } from './schema/user.ts'

const ofAccount = (account: AccountRef) =>
  and(eq(syncLanes.provider, PROVIDER_UPPER[account.provider]), eq(syncLanes.inboxId, account.inboxId))

/** The account's lanes by name. */
export function readLanes({ db }: UserReader, account: AccountRef): LaneState[] {
  const rows = db.select().from(syncLanes).where(ofAccount(account)).orderBy(syncLanes.lane).all()
  return rows.map(({ provider: _provider, inboxId: _inboxId, ...lane }) => lane)
}

/** Writes one lane, new or moved. */
export function putLane({ db }: UserTx, account: AccountRef, lane: LaneState): void {
  db.insert(syncLanes)
    .values({ provider: PROVIDER_UPPER[account.provider], inboxId: account.inboxId, ...lane })
    .onConflictDoUpdate({ target: [syncLanes.provider, syncLanes.inboxId, syncLanes.lane], set: lane })
    .run()
}

export function deleteLane({ db }: UserTx, account: AccountRef, lane: string): void {
  db.delete(syncLanes)
    .where(and(ofAccount(account), eq(syncLanes.lane, lane)))
    .run()
}

/** Makes these the account's lanes and no others. */
export function replaceLanes(tx: UserTx, account: AccountRef, lanes: readonly LaneState[]): void {
  tx.db.delete(syncLanes).where(ofAccount(account)).run()
  for (const lane of lanes) putLane(tx, account, lane)
}
