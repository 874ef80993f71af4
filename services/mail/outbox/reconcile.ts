/**
 * Brings what is stored locally and what stands on the user's subject into agreement, before anything is published:
 * events that are there are marked, events of others are learned, events that a stream has lost wait again.
 * It publishes nothing. Whoever publishes after it knows every event up to `last`.
 */
import { eventSubject } from '#shared/subjects.ts'
import type { Epoch } from '../base/model.ts'
import { insertFromEvent } from '../store/messages.ts'
import { type Meta, readMeta, setLast, setStreamCreated } from '../store/meta.ts'
import { markPublished, pendingRowOf } from '../store/outbox-rows.ts'
import type { UserTx } from '../store/user-store.ts'
import type { ReconcileDeps, ReconcileResult } from './deps.ts'
import { startNewStream, wentBackwards } from './lost-stream.ts'
import { ownEvent } from './own-event.ts'
import { type LogMessage, SubjectLog } from './subject-log.ts'

/**
 * @throws StaleEpochError when the user belongs to a later term; the signal's reason; errors of NATS and the disk.
 * After any of them it may simply be called again: whatever a transaction has written, the next call goes on from it.
 */
export async function reconcile(
  userId: string,
  epoch: Epoch,
  deps: ReconcileDeps,
  signal: AbortSignal,
): Promise<ReconcileResult> {
  const { store } = deps
  const commit = <T>(fn: (tx: UserTx) => T): T => store.commit(userId, epoch, fn)
  const subjectLog = new SubjectLog(deps.js, deps.jsm, eventSubject(userId), deps.log)
  const result = {
    last: 0,
    readEvents: 0,
    foreign: 0,
    marked: 0,
    republished: 0,
    streamReset: false,
    rolledBack: false,
  }

  signal.throwIfAborted()
  let local = commit(metaOf)
  const facts = await subjectLog.facts()
  if (local.streamCreatedMs === null) {
    commit((tx) => setStreamCreated(tx, facts.createdMs))
  } else if (local.streamCreatedMs !== facts.createdMs) {
    result.republished = await startNewStream(commit, facts.createdMs, deps, signal)
    result.streamReset = true
  } else {
    const republished = await wentBackwards(local, facts, { userId, subjectLog, deps, commit, signal })
    result.rolledBack = republished !== null
    result.republished = republished ?? 0
  }

  local = commit(metaOf)
  const newest = await subjectLog.newest()
  const end = newest?.seq ?? 0
  if (end > local.lastSeq)
    for await (const batch of subjectLog.read(local.lastSeq + 1, end, signal)) {
      const learned = commit((tx) => learn(tx, batch, deps.clock.wallMs()))
      result.readEvents += learned.readEvents
      result.foreign += learned.foreign
      result.marked += learned.marked
      result.last = learned.last
    }
  else {
    // The newest aged out or was deleted, or nothing is new: the server compares with what stands there now.
    if (end < local.lastSeq) {
      const eventId = newest === null ? null : (ownEvent(userId, newest.data)?.event_id ?? null)
      commit((tx) => setLast(tx, { seq: end, eventId }))
    }
    result.last = end
  }
  return result
}

const metaOf = (tx: UserTx): Meta => {
  const meta = readMeta(tx)
  if (meta === null) throw new Error('a user is reconciled only after its database was adopted')
  return meta
}

type Learned = { readEvents: number; foreign: number; marked: number; last: number }

/** Takes a batch of messages into the ledger. */
function learn(tx: UserTx, batch: readonly LogMessage[], nowMs: number): Learned {
  const marks: { id: number; msgId: string; seq: number }[] = []
  const learned: Learned = { readEvents: 0, foreign: 0, marked: 0, last: 0 }
  let last: { seq: number; eventId: string | null } = { seq: 0, eventId: null }
  for (const { seq, data } of batch) {
    const event = ownEvent(tx.userId, data)
    last = { seq, eventId: event?.event_id ?? null }
    if (event === null) {
      learned.foreign++
      continue
    }
    learned.readEvents++
    insertFromEvent(tx, event, seq)
    const id = pendingRowOf(tx, event.event_id)
    if (id !== null) marks.push({ id, msgId: event.event_id, seq })
  }
  markPublished(tx, marks, last, nowMs)
  return { ...learned, marked: marks.length, last: last.seq }
}
