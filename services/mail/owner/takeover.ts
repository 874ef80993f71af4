/**
 * Take-over of a user: read the checkpoint, make it mine, choose the base, adopt the database, choose the lanes.
 * From T3 on a zombie's checkpoint fails, from T5a its writes. Reading the stream back (T6) is the relay's first act.
 */
import type { Log } from '#shared/log.ts'
import type { ProviderName } from '#shared/subjects.ts'
import { type AccountRef, compareEpochs, type Epoch, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import { type Revised, RevisionConflict } from '../kv/account-record.ts'
import type { CheckpointRecord, Checkpoints } from '../kv/checkpoint.ts'
import { replaceLanes } from '../store/lanes.ts'
import { StaleEpochError, type UserStore } from '../store/user-store.ts'
import { newLane } from '../sync/commit-page.ts'

const CAS_ROUNDS = 5

/**
 * local: a database that is as new as the checkpoint's lanes · stale: one that another instance has overtaken since
 * lost: there was one, it is missing, empty or corrupt · new: the user's first
 */
export type Base = 'local' | 'stale' | 'lost' | 'new'

export type TakeoverDeps = {
  checkpoints: Checkpoints
  store: UserStore
  clock: Clock
  log: Log
  firstLane(provider: ProviderName): string
}

/**
 * T2–T5a for one user.
 * @returns the base and the checkpoint as it now stands, written under `epoch`.
 * @throws StaleEpochError when a later owner was here first.
 */
export async function takeOver(
  userId: string,
  epoch: Epoch,
  owner: string,
  deps: TakeoverDeps,
): Promise<{ base: Base; checkpoint: Revised<CheckpointRecord> }> {
  const { before, checkpoint } = await claim(userId, epoch, owner, deps)
  const { base, previous } = adopt(userId, epoch, before !== null, deps)
  // Claims in between do not count: an owner that wrote no lanes has moved nothing that anybody can go on from.
  if (base === 'local' && before !== null && (previous === null || compareEpochs(previous, lanesEpoch(before)) < 0)) {
    applyLanes(userId, epoch, before, deps)
    return { base: 'stale', checkpoint }
  }
  if (base === 'lost' && before !== null) keepWaits(userId, epoch, before, deps)
  return { base, checkpoint }
}

const lanesEpoch = (record: CheckpointRecord): Epoch => record.lanesEpoch ?? record.epoch

/** T2 and T3: the checkpoint under the new epoch and owner; everything else of it stays. */
async function claim(
  userId: string,
  epoch: Epoch,
  owner: string,
  { checkpoints, clock }: TakeoverDeps,
): Promise<{ before: CheckpointRecord | null; checkpoint: Revised<CheckpointRecord> }> {
  for (let round = 1; ; round++) {
    const found = await checkpoints.read(userId)
    if (found !== null && compareEpochs(found.record.epoch, epoch) > 0)
      throw new StaleEpochError(epoch, found.record.epoch)
    const record: CheckpointRecord = {
      ...(found?.record ?? {
        v: 1,
        lanes: {},
        pub: 0,
        pubEventId: null,
        snapshots: [],
        accounts: [],
        ts: toSeconds(clock.wallMs()),
      }),
      lanesEpoch: found === null ? epoch : lanesEpoch(found.record),
      epoch,
      owner,
    }
    try {
      const revision = await checkpoints.write(userId, record, found?.revision ?? (await checkpoints.revision(userId)))
      return { before: found?.record ?? null, checkpoint: { record, revision } }
    } catch (error) {
      if (!(error instanceof RevisionConflict) || round === CAS_ROUNDS) throw error
    }
  }
}

/** T4 and T5a. A user with a checkpoint and without a usable file has lost a disk; nothing is ever deleted. */
function adopt(
  userId: string,
  epoch: Epoch,
  hasHistory: boolean,
  { store, log }: TakeoverDeps,
): { base: Base; previous: Epoch | null } {
  const file = store.inspect(userId)
  if (file === 'corrupt') {
    log.error(
      { renamed: store.setAside(userId) !== null },
      'a user database is corrupt; it was set aside and is built anew',
    )
  }
  const { previous } = store.adopt(userId, epoch)
  if (file === 'usable') return { base: 'local', previous }
  return { base: hasHistory || file === 'corrupt' ? 'lost' : 'new', previous }
}

/** T5: the checkpoint's lanes in place of local ones that others have overtaken. */
function applyLanes(userId: string, epoch: Epoch, before: CheckpointRecord, { store }: TakeoverDeps): void {
  store.commit(userId, epoch, (tx) => {
    for (const [key, lanes] of Object.entries(before.lanes)) replaceLanes(tx, accountOf(userId, key), lanes)
  })
}

/** The mailbox is fetched again from the start, but not before the provider's announced time. */
function keepWaits(userId: string, epoch: Epoch, before: CheckpointRecord, { store, firstLane }: TakeoverDeps): void {
  store.commit(userId, epoch, (tx) => {
    for (const [key, lanes] of Object.entries(before.lanes)) {
      const account = accountOf(userId, key)
      const notBeforeMs = Math.max(0, ...lanes.map((lane) => lane.notBeforeMs))
      if (notBeforeMs > 0) replaceLanes(tx, account, [{ ...newLane(firstLane(account.provider)), notBeforeMs }])
    }
  })
}

/** Key of an account inside the checkpoint. */
export const laneKey = (account: AccountRef): string => `${account.provider}.${account.inboxId}`

function accountOf(userId: string, key: string): AccountRef {
  const [provider, inboxId = ''] = key.split('.')
  return { userId, provider: provider === 'google' ? 'google' : 'microsoft', inboxId }
}
