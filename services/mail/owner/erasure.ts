/**
 * Erasing a user, by a term of its own: the grants are revoked, then everything that is kept of the user is deleted, part by
 * part. Each step may be repeated, and a later term begins at the first one: whatever was cut off is done in the end.
 *
 *   asked → grants revoked → events → snapshots → database → checkpoint → records → receipt → done
 *
 * The wish stands in KV until all of it is done. Then it says which of what an old disk may bring back is from before.
 */
import type { Log } from '#shared/log.ts'
import { type Epoch, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { RevisionConflict, withoutGrant } from '../kv/account-record.ts'
import type { AccountEntry, Accounts } from '../kv/accounts.ts'
import type { Holdings } from '../outbox/holdings.ts'
import type { UserStore } from '../store/user-store.ts'
import type { OwedDeps } from './owed.ts'
import { type RevocationDeps, revokeGrantOf } from './revocation.ts'

const AGAIN_MS = 2_000

export type ErasureDeps = RevocationDeps &
  Pick<OwedDeps, 'trail'> & {
    accounts: Accounts
    holdings: Pick<Holdings, 'ends' | 'eraseEvents' | 'eraseSnapshots' | 'eraseState' | 'eraseAccounts'>
    store: Pick<UserStore, 'erase'>
    clock: Clock
    log: Log
  }

/** Resolves when it is done, by whomever. @throws the signal's reason */
export async function eraseUser(userId: string, epoch: Epoch, deps: ErasureDeps, signal: AbortSignal): Promise<void> {
  for (;;) {
    try {
      if (await tryOnce(userId, epoch, deps, signal)) return
    } catch (error) {
      signal.throwIfAborted()
      deps.log.warn({ err: error, user: userId }, 'a user could not be erased yet; it is tried again')
      await deps.clock.sleep(AGAIN_MS, signal)
    }
  }
}

/** False when somebody has changed something meanwhile: then it begins anew. */
async function tryOnce(userId: string, epoch: Epoch, deps: ErasureDeps, signal: AbortSignal): Promise<boolean> {
  const { accounts, holdings, store, trail, clock, log } = deps
  const next = (step: string): void => {
    signal.throwIfAborted()
    log.info({ user: userId, step }, 'a user is erased')
  }
  next('grants')
  for (const entry of await accounts.list(userId)) await settle(entry, deps, signal)
  // Before the wish is read: what is written after it was fulfilled by somebody else stands behind these.
  const ends = await holdings.ends()
  const wish = await accounts.readErasure(userId)
  if (wish === null || wish.record.erase === 'done') return true
  if ((await accounts.list(userId)).some(isUnsettled)) return false
  next('events')
  await holdings.eraseEvents(userId, ends, signal)
  next('snapshots')
  await holdings.eraseSnapshots(userId, ends, signal)
  next('database')
  store.erase(userId, epoch)
  next('checkpoint')
  await holdings.eraseState(userId, ends, signal)
  next('records')
  await holdings.eraseAccounts(userId, ends, signal)
  next('receipt')
  const { receipt } = wish.record
  await trail.append({ ...receipt, at: toSeconds(clock.wallMs()) })
  next('wish')
  const { accounts: upTo, bucketCreatedMs } = ends
  const at = toSeconds(clock.wallMs())
  try {
    await accounts.writeErasure(
      userId,
      { v: 1, erase: 'done', receipt, at, epoch, bucketCreatedMs, upTo },
      wish.revision,
    )
  } catch (error) {
    if (error instanceof RevisionConflict) return false
    throw error
  }
  log.info({ user: userId, step: 'done' }, 'a user is erased')
  return true
}

const isUnsettled = ({ record }: AccountEntry): boolean => record.credential !== null || record.revoke !== null

/** The account is disconnected, its grant revoked, and the audit trail told what it is owed. */
async function settle({ account }: AccountEntry, deps: ErasureDeps, signal: AbortSignal): Promise<void> {
  const { accounts, trail, clock } = deps
  const now = await accounts.change(account, (current) =>
    current === null || (current.desired === 'disconnected' && current.credential === null)
      ? null
      : withoutGrant(current, toSeconds(clock.wallMs())),
  )
  if (now === null) return
  if (now.record.revoke !== null) await revokeGrantOf(account, now.record.revoke, deps, signal)
  for (const record of now.record.owed ?? []) await trail.append(record)
}
