/**
 * A stream that is new, or that has lost acknowledged messages: what is published again, and what is not.
 * It walks the ledger from its end in bounded transactions. When it is interrupted, `meta` says so until it was done
 * again to its end; reading on from there is the business of reconcile.
 */
import { setImmediate as yieldTurn } from 'node:timers/promises'
import { toSeconds } from '../base/model.ts'
import { knownBehind, knownSeq, LEDGER_END, setKnownSeq } from '../store/known.ts'
import { storedTs } from '../store/messages.ts'
import { beginRepair, endRepair, type Meta, setLast, setStreamCreated } from '../store/meta.ts'
import { markPublished, pendingRowOf } from '../store/outbox-rows.ts'
import { republish } from '../store/republish.ts'
import type { UserTx } from '../store/user-store.ts'
import type { ReconcileDeps } from './deps.ts'
import { ownEvent } from './own-event.ts'
import type { LogFacts, SubjectLog } from './subject-log.ts'

/** Events per transaction; everything else of the process stands still meanwhile. */
const PAGE = 100

type Commit = <T>(fn: (tx: UserTx) => T) => T
type Look = { userId: string; subjectLog: SubjectLog; deps: ReconcileDeps; commit: Commit; signal: AbortSignal }

/**
 * A stream made anew holds nothing of ours and its sequences mean something else. Waiting rows are published;
 * published mail is not, or with `republish` as far back as the stream would still hold it. Returns how many wait again.
 */
export async function startNewStream(
  commit: Commit,
  createdMs: number,
  { clock, onNewStream, retentionMs }: Pick<ReconcileDeps, 'clock' | 'onNewStream' | 'retentionMs'>,
  signal: AbortSignal,
): Promise<number> {
  const nowMs = clock.wallMs()
  const sinceTs = onNewStream === 'republish' ? toSeconds(nowMs - retentionMs) : Number.POSITIVE_INFINITY
  const isYoung = (tx: UserTx, id: string): boolean => (storedTs(tx, id) ?? Number.NEGATIVE_INFINITY) >= sinceTs
  commit(beginRepair)
  const republished = await walkBack(commit, 0, signal, (tx, ids) => {
    const { young = [], old = [] } = Object.groupBy(ids, (id) => (isYoung(tx, id) ? 'young' : 'old'))
    for (const id of old) setKnownSeq(tx, id, 0)
    return republish(tx, young, nowMs)
  })
  commit((tx) => {
    setLast(tx, { seq: 0, eventId: null })
    setStreamCreated(tx, createdMs)
    endRepair(tx, nowMs)
  })
  return republished
}

/**
 * Finds out whether the stream has lost what it had acknowledged: our last message is gone although the stream is
 * shorter, or something else stands in its place. If so, puts the lost events back into the outbox and returns how many;
 * null when nothing was lost.
 *
 * With S = the highest sequence up to which the subject holds no event that we know elsewhere or not at all, and where it still
 * holds the very event that we know there: what we know behind S
 * and do not find is lost; what is missing up to S was purged by somebody and stays away.
 */
export async function wentBackwards(local: Meta, facts: LogFacts, look: Look): Promise<number | null> {
  if (!local.repairing && (local.lastSeq === 0 || !(await lastIsLost(local, facts, look)))) return null
  const { deps, commit, signal } = look
  const found = { last: local.lastSeq, streamLast: facts.lastSeq }
  if (local.repairing) deps.log.warn(found, 'the stream may hold something else than is known here: it is compared')
  else deps.log.error(found, 'the stream has lost acknowledged events')
  const survived = await survey(local, look)
  const nowMs = deps.clock.wallMs()
  commit(beginRepair)
  await settle(commit, survived, nowMs, signal)
  const republished = await walkBack(commit, survived.seq, signal, (tx, ids) =>
    republish(
      tx,
      ids.filter((id) => !survived.elsewhere.has(id)),
      nowMs,
    ),
  )
  commit((tx) => {
    setLast(tx, { seq: survived.seq, eventId: survived.eventId })
    endRepair(tx, nowMs)
  })
  return republished
}

/** Shows `step` what the ledger has behind `seq`, the newest first, a page per transaction and turn. Adds up its answers. */
async function walkBack(
  commit: Commit,
  seq: number,
  signal: AbortSignal,
  step: (tx: UserTx, ids: string[]) => number,
): Promise<number> {
  for (let [sum, before] = [0, LEDGER_END]; ; await yieldTurn()) {
    signal.throwIfAborted()
    const page = commit((tx) => {
      const found = knownBehind(tx, seq, before, PAGE)
      const ids = found.map(({ eventId }) => eventId)
      sum += step(tx, ids)
      return found
    })
    const last = page.at(-1)
    if (last === undefined) return sum
    before = last
  }
}

/** Events up to S at another place than we knew are on the stream. What stands behind S is read, and noted, by reconcile. */
async function settle(
  commit: Commit,
  { seq: last, eventId, elsewhere }: Survey,
  nowMs: number,
  signal: AbortSignal,
): Promise<void> {
  const found = [...elsewhere].filter(([, seq]) => seq <= last)
  for (let at = 0; at < found.length; at += PAGE) {
    signal.throwIfAborted()
    commit((tx) => {
      const marks: { id: number; msgId: string; seq: number }[] = []
      for (const [msgId, seq] of found.slice(at, at + PAGE)) {
        const id = pendingRowOf(tx, msgId)
        if (id === null) setKnownSeq(tx, msgId, seq)
        else marks.push({ id, msgId, seq })
      }
      markPublished(tx, marks, { seq: last, eventId }, nowMs)
    })
    await yieldTurn()
  }
}

async function lastIsLost(local: Meta, facts: LogFacts, { userId, subjectLog }: Look): Promise<boolean> {
  // Asked even where the stream seems too short for it: a leader of long ago names an end of long ago.
  const message = await subjectLog.at(local.lastSeq)
  // Not there, though the stream went further: it aged out or was purged. A sequence is not used twice.
  if (message === null) return facts.lastSeq < local.lastSeq
  if (message.subject !== subjectLog.subject) return true
  return (ownEvent(userId, message.data)?.event_id ?? null) !== local.lastEventId
}

type Survey = {
  /** S, and the event there; 0 and null when nothing of what we know survived in its place. */
  seq: number
  eventId: string | null
  /** Events that we know at another sequence than the one where they stand now. */
  elsewhere: Map<string, number>
}

/** Reads the whole subject and writes nothing: a sequence taken over too early would pass for a survivor. */
async function survey(local: Meta, { userId, subjectLog, deps, signal }: Look): Promise<Survey> {
  const found: Survey = { seq: 0, eventId: null, elsewhere: new Map() }
  const end = await subjectLog.end()
  if (end === 0) return found
  // Up to `lastSeq` all was read once. From the first event on that did not stand there the stream was written anew, and one
  // that stands in its place behind it does so by chance.
  let isAnew = false
  for await (const batch of subjectLog.read(1, end, signal))
    deps.store.read(userId, (db) => {
      for (const { seq, data } of batch) {
        const id = ownEvent(userId, data)?.event_id
        const known = id === undefined ? null : knownSeq(db, id)
        if (id === undefined) continue
        if (known !== seq && seq <= local.lastSeq) isAnew = true
        if (known === seq && !isAnew) [found.seq, found.eventId] = [seq, id]
        else if (known !== null) found.elsewhere.set(id, seq)
      }
    })
  return found
}
