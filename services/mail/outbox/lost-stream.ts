/**
 * A stream that is new, or that has lost acknowledged messages: what is published again, and what is not.
 * It decides and writes in one transaction; reading on from there is the business of reconcile.
 */
import { toSeconds } from '../base/model.ts'
import { clearKnownSeqs, knownBehind, knownSeq, setKnownSeq } from '../store/known.ts'
import { eventIdsSince } from '../store/messages.ts'
import { type Meta, setLast, setStreamCreated, setStreamReset } from '../store/meta.ts'
import { republish } from '../store/republish.ts'
import type { UserTx } from '../store/user-store.ts'
import type { ReconcileDeps } from './deps.ts'
import { ownEvent } from './own-event.ts'
import type { LogFacts, SubjectLog } from './subject-log.ts'

const PAGE = 500

/**
 * A stream made anew holds nothing of ours and its sequences mean something else. Waiting rows are published;
 * published mail is not, or with `republish` as far back as the stream would still hold it. Returns how many wait again.
 */
export function startNewStream(
  tx: UserTx,
  createdMs: number,
  { clock, onNewStream, retentionMs }: Pick<ReconcileDeps, 'clock' | 'onNewStream' | 'retentionMs'>,
): number {
  const nowMs = clock.wallMs()
  let republished = 0
  if (onNewStream === 'republish') {
    for (let row = 0, full = true; full; ) {
      const page = eventIdsSince(tx, toSeconds(nowMs - retentionMs), row, PAGE)
      const published = page.map(({ eventId }) => eventId).filter((id) => (knownSeq(tx, id) ?? 0) > 0)
      republished += republish(tx, published, nowMs)
      row = page.at(-1)?.row ?? row
      full = page.length === PAGE
    }
  }
  clearKnownSeqs(tx)
  setLast(tx, { seq: 0, eventId: null })
  setStreamCreated(tx, createdMs)
  setStreamReset(tx, nowMs)
  return republished
}

/**
 * Finds out whether the stream has lost what it had acknowledged: our last message is gone although the stream is
 * shorter, or something else stands in its place. Returns the transaction that puts the lost events back into the
 * outbox, or null when nothing was lost.
 *
 * With S = the highest sequence where the subject still holds the very event that we know there: what we know behind S
 * and do not find is lost; what is missing up to S was purged by somebody and stays away.
 */
export async function wentBackwards(
  userId: string,
  local: Meta,
  facts: LogFacts,
  subjectLog: SubjectLog,
  deps: ReconcileDeps,
  signal: AbortSignal,
): Promise<((tx: UserTx) => number) | null> {
  if (local.lastSeq === 0 || !(await lastIsLost(userId, local, facts, subjectLog))) return null
  deps.log.error({ last: local.lastSeq, streamLast: facts.lastSeq }, 'the stream has lost acknowledged events')
  const survived = await survey(userId, subjectLog, deps, signal)
  return (tx) => {
    const nowMs = deps.clock.wallMs()
    let republished = 0
    for (let behind = survived.seq, full = true; full; ) {
      const page = knownBehind(tx, behind, PAGE)
      const lost = page.map(({ eventId }) => eventId).filter((id) => !survived.elsewhere.has(id))
      republished += republish(tx, lost, nowMs)
      behind = page.at(-1)?.seq ?? behind
      full = page.length === PAGE
    }
    // What stands behind S is read, and noted, by reconcile.
    for (const [id, seq] of survived.elsewhere) if (seq <= survived.seq) setKnownSeq(tx, id, seq)
    setLast(tx, { seq: survived.seq, eventId: survived.eventId })
    setStreamReset(tx, nowMs)
    return republished
  }
}

async function lastIsLost(userId: string, local: Meta, facts: LogFacts, subjectLog: SubjectLog): Promise<boolean> {
  if (facts.lastSeq < local.lastSeq) return true
  const message = await subjectLog.at(local.lastSeq)
  // Not there, though the stream went further: it aged out or was purged. A sequence is not used twice.
  if (message === null) return false
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
async function survey(
  userId: string,
  subjectLog: SubjectLog,
  { store }: ReconcileDeps,
  signal: AbortSignal,
): Promise<Survey> {
  const found: Survey = { seq: 0, eventId: null, elsewhere: new Map() }
  const end = await subjectLog.end()
  if (end === 0) return found
  for await (const batch of subjectLog.read(1, end, signal))
    store.read(userId, (db) => {
      for (const { seq, data } of batch) {
        const id = ownEvent(userId, data)?.event_id
        const known = id === undefined ? null : knownSeq(db, id)
        if (id === undefined || known === null) continue
        if (known === seq) [found.seq, found.eventId] = [seq, id]
        else found.elsewhere.set(id, seq)
      }
    })
  return found
}
