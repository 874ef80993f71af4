/**
 * What the last audit of an account found, when the account was last known to be complete, and which mails the audit that
 * runs has been shown. It compares nothing.
 */
import { PROVIDER_UPPER } from '#shared/event.ts'
import type { AccountRef } from '../base/model.ts'
import { and, count, eq, sql } from './drizzle.ts'
import { prepareRead, prepareWrite, type UserReader, type UserTx } from './prepared.ts'
import { audited, audits, emailReceivedEvents as e } from './schema/user.ts'

/** Something that an audit found: an event, or a message of the subject that is none of ours. */
export type Finding = {
  what: 'missing' | 'extra' | 'twice' | 'absent'
  eventId: string | null
  /** Sequence on the stream; null where it does not matter. */
  seq: number | null
}
/** Counts are those of the present audit, or of the last one. Times in epoch ms. */
export type Audit = {
  /** null = there was none. */
  startedMs: number | null
  /** null = it runs, or an end of the process or of the term has interrupted it. */
  finishedMs: number | null
  /** Walks over the whole mailbox, of the folder that took most. */
  passes: number
  /** Mails that the provider had for a while, and that had no row. */
  missing: number
  /** Messages of the user's subject that are no event known here. */
  extra: number
  /** Second copies of an event. */
  twice: number
  /** Events that the stream should still have, and has not. */
  absent: number
  /** Stored mails that the mailbox did not list: deleted since, or moved to spam or trash. null before the end. */
  gone: number | null
  /** Stored mails that the mailbox lists; null before the first audit has ended. */
  providerTotal: number | null
  /** Quota units of Gmail, requests of Graph. */
  cost: number
  /** The first of what was found. */
  findings: readonly Finding[]
  /** When everything that the provider lists was last known to be stored; null = it is not known to be. */
  provenMs: number | null
}

export const NO_AUDIT: Audit = {
  startedMs: null,
  finishedMs: null,
  passes: 0,
  missing: 0,
  extra: 0,
  twice: 0,
  absent: 0,
  gone: null,
  providerTotal: null,
  cost: 0,
  findings: [],
  provenMs: null,
}

/** A page of the user's subject that was compared with the ledger. */
export type SubjectPage = {
  /** Where the next page begins; null = this was the last one. */
  cursor: string | null
  /** To be called in the transaction that moves on. Returns what was found of the account. */
  settle(tx: UserTx, nowMs: number): Finding[]
}

const FINDINGS_MAX = 20
const { placeholder } = sql
const keyOf = (account: AccountRef) => ({ provider: PROVIDER_UPPER[account.provider], inboxId: account.inboxId })

const selectAudit = prepareRead((db) =>
  db
    .select()
    .from(audits)
    .where(and(eq(audits.provider, placeholder('provider')), eq(audits.inboxId, placeholder('inboxId'))))
    .prepare(),
)
const row = sql`${e}.rowid`
const ofAccount = and(eq(e.provider, placeholder('provider')), eq(e.inboxId, placeholder('inboxId')))
const selectCount = prepareRead((db) =>
  db.select({ n: count() }).from(audited).innerJoin(e, sql`${row} = ${audited.mail}`).where(ofAccount).prepare(),
)
const insertListed = prepareWrite((db) =>
  db
    .insert(audited)
    .select((of) =>
      of
        .select({ mail: sql<number>`${row}`.as('mail') })
        .from(e)
        .where(and(ofAccount, sql`${e.providerMessageId} IN (SELECT value FROM json_each(${placeholder('ids')}))`)),
    )
    .onConflictDoNothing()
    .prepare(),
)
const deleteListed = prepareWrite((db) =>
  db.delete(audited).where(sql`${audited.mail} IN (SELECT ${row} FROM ${e} WHERE ${ofAccount})`).prepare(),
)

export function readAudit(reader: UserReader, account: AccountRef): Audit {
  const found = selectAudit(reader).get(keyOf(account))
  if (found === undefined) return NO_AUDIT
  const { provider: _provider, inboxId: _inboxId, findings, ...audit } = found
  return { ...audit, findings: findings ?? [] }
}

export function putAudit({ db }: UserTx, account: AccountRef, audit: Audit): void {
  const values = { ...audit, findings: [...audit.findings] }
  db.insert(audits)
    .values({ ...keyOf(account), ...values })
    .onConflictDoUpdate({ target: [audits.provider, audits.inboxId], set: values })
    .run()
}

/** The mailbox has these ids; the stored ones of them are noted. */
export function noteListed(tx: UserTx, account: AccountRef, ids: readonly string[]): void {
  insertListed(tx).run({ ...keyOf(account), ids: JSON.stringify(ids) })
}

/** How many stored mails of the account were listed. */
export const countListed = (reader: UserReader, account: AccountRef): number =>
  selectCount(reader).get(keyOf(account))?.n ?? 0

/** Forgets what was listed of the account. */
export function clearListed(tx: UserTx, account: AccountRef): void {
  deleteListed(tx).run(keyOf(account))
}

/** The audit with what was found, as far as there is room for it. */
export const withFindings = (audit: Audit, more: readonly Finding[]): Audit => {
  const of = (what: Finding['what']): number => audit[what] + more.filter((finding) => finding.what === what).length
  return {
    ...audit,
    missing: of('missing'),
    extra: of('extra'),
    twice: of('twice'),
    absent: of('absent'),
    findings: [...audit.findings, ...more].slice(0, FINDINGS_MAX),
  }
}
