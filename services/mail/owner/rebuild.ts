/**
 * The database of a user out of what others have left: the entries of a snapshot, the lanes of a checkpoint, and lanes
 * that fetch the rows once more. The ledger is taken over in steps; until the last one the file is no base for anything.
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import type { AccountStatus } from '#shared/contract.ts'
import {
  type AccountRef,
  type Epoch,
  isRefill,
  isRewalk,
  type LaneState,
  type ProviderName,
  stateName,
} from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import type { Accounts } from '../kv/accounts.ts'
import type { CheckpointRecord, SnapshotPointer } from '../kv/checkpoint.ts'
import { decodeEntries, ENTRY_BYTES } from '../outbox/ledger-format.ts'
import { putAudit, readAudit } from '../store/audits.ts'
import { putLane, readLanes, replaceLanes } from '../store/lanes.ts'
import { takeOverEntries } from '../store/ledger.ts'
import { endRebuild, readMeta, setLast, setStreamCreated } from '../store/meta.ts'
import type { UserStore, UserTx } from '../store/user-store.ts'
import { newLane } from '../sync/commit-page.ts'

/** 500 entries per transaction; everything else of the process stands still meanwhile. */
const PAGE_BYTES = 500 * ENTRY_BYTES

export type RebuildDeps = {
  store: UserStore
  clock: Clock
  accounts: Pick<Accounts, 'ofUser'>
  /** Lanes that fetch what the account's lanes have passed once more. */
  refillLanes(provider: ProviderName, lanes: readonly string[]): string[]
}
type Lanes = Record<string, LaneState[]>
type Proofs = Record<string, AccountStatus['completeness']>

/** Takes the ledger of a snapshot into the database. Sequences of another stream than the database's mean nothing here. */
export async function takeEntries(
  userId: string,
  epoch: Epoch,
  { pointer, bytes }: { pointer: SnapshotPointer; bytes: Uint8Array },
  { store, clock }: RebuildDeps,
): Promise<void> {
  const { last, ofStream } = store.commit(userId, epoch, (tx) => joinStream(tx, pointer))
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
    const entries = decodeEntries(bytes.subarray(at, at + PAGE_BYTES))
    const page = ofStream ? entries : entries.map((entry) => ({ ...entry, seq: 0 }))
    store.commit(userId, epoch, (tx) => takeOverEntries(tx, page, last, clock.wallMs()))
    await yieldTurn()
  }
}

/** Where the subject is read on from afterwards: behind the snapshot, if it is of the same stream and further. */
function joinStream(
  tx: UserTx,
  pointer: SnapshotPointer,
): { last: { seq: number; eventId: string | null }; ofStream: boolean } {
  const meta = readMeta(tx)
  const own = { seq: meta?.lastSeq ?? 0, eventId: meta?.lastEventId ?? null }
  const created = meta?.streamCreatedMs ?? null
  const ofStream = created === null || pointer.streamCreatedMs === null || created === pointer.streamCreatedMs
  if (!ofStream) return { last: own, ofStream }
  if (pointer.streamCreatedMs !== null) setStreamCreated(tx, pointer.streamCreatedMs)
  const isFurther = pointer.last > own.seq
  const last = isFurther ? { seq: pointer.last, eventId: pointer.lastEventId } : own
  setLast(tx, last)
  return { last, ofStream }
}

/** T5, T5a and T8: the file is a base from here on; rows that it lacks are fetched again, behind everything else. */
export function finishRebuild(
  userId: string,
  epoch: Epoch,
  { lanes, gaps, proofs }: { lanes: Lanes; gaps: Record<string, number>; proofs: Proofs },
  { store, accounts, refillLanes }: RebuildDeps,
): void {
  // An account without positions may have published all the same.
  const connected = accounts.ofUser(userId).map(({ account }) => [stateName(account), []])
  store.commit(userId, epoch, (tx) => {
    for (const [account, states] of accountsOf(userId, { ...Object.fromEntries(connected), ...lanes })) {
      const names = states.map(({ lane }) => lane)
      const again = refillLanes(account.provider, names).map(newLane)
      replaceLanes(tx, account, [...states.filter(({ lane }) => !isRewalk(lane)), ...again])
      putProof(tx, account, proofs)
    }
    endRebuild(tx, gaps)
  })
}

/** T5: the checkpoint's lanes in place of local ones that others have overtaken. What this file lacks is its own affair. */
export function applyLanes(
  userId: string,
  epoch: Epoch,
  { lanes, proofs }: { lanes: Lanes; proofs: Proofs },
  { store }: RebuildDeps,
): void {
  store.commit(userId, epoch, (tx) => {
    for (const [account, states] of accountsOf(userId, lanes)) {
      const refills = readLanes(tx, account).filter(({ lane }) => isRefill(lane))
      replaceLanes(
        tx,
        account,
        states.filter(({ lane }) => !isRewalk(lane)),
      )
      for (const lane of refills) putLane(tx, account, lane)
      putProof(tx, account, proofs)
    }
  })
}

/** What the owners before have known of the completeness of each account. */
export const proofsOf = (before: CheckpointRecord | null): Proofs =>
  Object.fromEntries(
    (before?.accounts ?? []).map(({ provider, inbox_id, completeness }) => [
      stateName({ provider, inboxId: inbox_id }),
      completeness,
    ]),
  )

/** An audit that this disk has begun has ended with the term of its owner. */
function putProof(tx: UserTx, account: AccountRef, proofs: Proofs): void {
  const { provider_total: providerTotal = null, proven_at = null } = proofs[stateName(account)] ?? {}
  putAudit(tx, account, {
    ...readAudit(tx, account),
    providerTotal,
    provenMs: proven_at === null ? null : proven_at * 1_000,
  })
}

const accountsOf = (userId: string, lanes: Lanes): [AccountRef, LaneState[]][] =>
  Object.entries(lanes).map(([key, states]) => {
    const [provider, inboxId = ''] = key.split('.')
    return [{ userId, provider: provider === 'google' ? 'google' : 'microsoft', inboxId }, states]
  })
