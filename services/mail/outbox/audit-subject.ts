/**
 * The half of an audit that reads the user's subject: a page of it against the ledger. Only what does not fit is looked at
 * whole, and at the stream's leader, because a replica may lag behind. What the stream should have and has not waits again
 * in the outbox; what it has too much stays there. It publishes nothing.
 */
import * as v from 'valibot'
import { PROVIDER_UPPER } from '#shared/event.ts'
import { eventSubject } from '#shared/subjects.ts'
import type { AccountRef } from '../base/model.ts'
import type { Finding, SubjectPage } from '../store/audits.ts'
import { knownRange, knownSeq, setKnownSeq } from '../store/known.ts'
import { isMailOf } from '../store/messages.ts'
import { readMeta } from '../store/meta.ts'
import { pendingRowOf } from '../store/outbox-rows.ts'
import { republish } from '../store/republish.ts'
import type { UserReader, UserTx } from '../store/user-store.ts'
import type { RelayDeps } from './deps.ts'
import { ownEvent } from './own-event.ts'
import { SilentStream, SubjectLog } from './subject-log.ts'

/** Messages, and entries of the ledger, of one page. */
const PAGE = 500

/** From where to go on, up to what was the end of the stream when the audit began. */
const Cursor = v.pipe(v.string(), v.parseJson(), v.object({ seq: v.number(), end: v.number() }))

type Deps = Pick<RelayDeps, 'js' | 'jsm' | 'store' | 'log'>

/** A message that is not where the ledger says; `standsAt` = another place where the same event stands. */
type Misfit = { seq: number; eventId: string | null; isOurs: boolean; knownAt: number; standsAt: number }
type Lost = { eventId: string; seq: number }

/** @throws errors of NATS and of the disk; the signal's reason: then the same page may be asked again. */
export async function auditSubject(
  account: AccountRef,
  cursor: string | null,
  deps: Deps,
  signal: AbortSignal,
): Promise<SubjectPage> {
  const { userId } = account
  const subjectLog = new SubjectLog(deps.js, deps.jsm, eventSubject(userId), deps.log)
  const facts = await subjectLog.facts()
  const read = <T>(look: (db: UserReader) => T): T => deps.store.read(userId, look)
  const meta = read(readMeta)
  // Sequences of the ledger mean this stream only after the relay has looked at it.
  if (meta === null || meta.repairing || meta.streamCreatedMs !== facts.createdMs)
    throw new SilentStream('the stream has not been compared with the ledger yet')
  const began = v.safeParse(Cursor, cursor)
  const { seq, end } = began.success ? began.output : { seq: 0, end: facts.lastSeq }
  const from = Math.max(seq, facts.firstSeq)
  const entries = await subjectLog.entries(from, PAGE, signal)
  const ledger = read((db) => knownRange(db, from, end, PAGE))
  const full = [entries, ledger].flatMap((page) => (page.length < PAGE ? [] : [page.at(-1)?.seq ?? end]))
  const to = Math.min(end, ...full)

  const idAt = new Map(entries.map(({ seq: at, msgId }) => [at, msgId]))
  const knownAt = new Map(ledger.map(({ seq: at, eventId }) => [at, eventId]))
  const look = new Looker(account, subjectLog, read, signal)
  const misfits: Misfit[] = []
  for (const { seq: at, msgId } of entries) {
    const misfit = at > to || knownAt.get(at) === msgId ? null : await look.misfit(at)
    if (misfit !== null) misfits.push(misfit)
  }
  const lost: Lost[] = []
  for (const entry of ledger)
    if (entry.seq <= to && idAt.get(entry.seq) !== entry.eventId && !(await look.stands(entry))) lost.push(entry)
  // What has aged out meanwhile is not lost.
  const { firstSeq } = lost.length === 0 ? facts : await subjectLog.facts()
  return {
    cursor: to >= end ? null : JSON.stringify({ seq: to + 1, end }),
    settle: (tx, nowMs) => [
      ...misfits.flatMap((misfit) => settleMisfit(tx, misfit)),
      ...settleLost(
        tx,
        account,
        lost.filter((entry) => entry.seq >= firstSeq),
        nowMs,
      ),
    ],
  }
}

/** Looks at single messages. */
class Looker {
  readonly #account: AccountRef
  readonly #log: SubjectLog
  readonly #read: <T>(look: (db: UserReader) => T) => T
  readonly #signal: AbortSignal

  constructor(account: AccountRef, log: SubjectLog, read: <T>(look: (db: UserReader) => T) => T, signal: AbortSignal) {
    this.#account = account
    this.#log = log
    this.#read = read
    this.#signal = signal
  }

  async stands({ eventId, seq }: Lost): Promise<boolean> {
    return (await this.#eventAt(seq))?.event_id === eventId
  }

  /** null = it has gone since. */
  async misfit(seq: number): Promise<Misfit | null> {
    const event = await this.#eventAt(seq)
    if (event === undefined) return null
    if (event === null) return { seq, eventId: null, isOurs: true, knownAt: 0, standsAt: 0 }
    const { event_id: eventId, provider, inbox_id } = event
    const knownAt = this.#read((db) => knownSeq(db, eventId)) ?? 0
    const isElsewhere = knownAt !== 0 && knownAt !== seq && (await this.stands({ eventId, seq: knownAt }))
    const isOurs = provider === PROVIDER_UPPER[this.#account.provider] && inbox_id === this.#account.inboxId
    return { seq, eventId, isOurs, knownAt, standsAt: isElsewhere ? knownAt : 0 }
  }

  /** null = no event of ours; undefined = nothing of the user stands there. */
  async #eventAt(seq: number): Promise<ReturnType<typeof ownEvent> | undefined> {
    this.#signal.throwIfAborted()
    const message = await this.#log.at(seq)
    return message?.subject === this.#log.subject ? ownEvent(this.#account.userId, message.data) : undefined
  }
}

function settleMisfit(tx: UserTx, { seq, eventId, isOurs, knownAt, standsAt }: Misfit): Finding[] {
  if (!isOurs) return []
  if (eventId === null) return [{ what: 'extra', eventId, seq }]
  const now = knownSeq(tx, eventId)
  if (now === null) return [{ what: 'extra', eventId, seq }]
  // It waits, and the relay finds it there; or somebody has noted it since it was looked at.
  if (pendingRowOf(tx, eventId) !== null || now === seq || now !== knownAt) return []
  if (standsAt !== 0) return [{ what: 'twice', eventId, seq }]
  setKnownSeq(tx, eventId, seq)
  return []
}

function settleLost(tx: UserTx, account: AccountRef, lost: readonly Lost[], nowMs: number): Finding[] {
  const absent = lost.filter(
    ({ eventId, seq }) =>
      knownSeq(tx, eventId) === seq && pendingRowOf(tx, eventId) === null && isMailOf(tx, account, eventId) !== false,
  )
  republish(tx, absent.map(({ eventId }) => eventId).toReversed(), nowMs)
  return absent.map(({ eventId, seq }) => ({ what: 'absent', eventId, seq }))
}
