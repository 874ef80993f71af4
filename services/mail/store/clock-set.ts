/** Wall times of an account that are waited for, moved along when the wall clock was set. What happened keeps its time. */
import type { AnySQLiteColumn } from 'drizzle-orm/sqlite-core'
import { PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef } from '../base/model.ts'
import { and, eq, gt, sql } from './drizzle.ts'
import type { UserTx } from './prepared.ts'
import { fetchQueue, syncLanes } from './schema/user.ts'

/** Moves the times of the account's lanes and of its queue by `byMs`; 0 stays 0. */
export function moveTimes({ db }: UserTx, account: AccountRef, byMs: number): void {
  const provider = PROVIDER_UPPER[account.provider]
  const moved = (column: AnySQLiteColumn) => sql`CASE WHEN ${column} > 0 THEN max(1, ${column} + ${byMs}) ELSE 0 END`
  db.update(syncLanes)
    .set({
      notBeforeMs: moved(syncLanes.notBeforeMs),
      syncedMs: moved(syncLanes.syncedMs),
      resetMs: moved(syncLanes.resetMs),
    })
    .where(and(eq(syncLanes.provider, provider), eq(syncLanes.inboxId, account.inboxId)))
    .run()
  db.update(fetchQueue)
    .set({ nextAtMs: moved(fetchQueue.nextAtMs) })
    .where(and(eq(fetchQueue.provider, provider), eq(fetchQueue.inboxId, account.inboxId), gt(fetchQueue.nextAtMs, 0)))
    .run()
}
