/** In which row of `email_received_events` a mail is stored: by its id at the provider, or by its event id, by way of the ledger. */
import type { ProviderUpper } from '#shared/event.ts'
import { and, eq, sql } from './drizzle.ts'
import { prepareRead, type UserReader } from './prepared.ts'
import { emailReceivedEvents as e, known } from './schema/user.ts'

const { placeholder } = sql
const row = sql<number>`${e}.rowid`
/** A condition: the mail of an inbox by its id there, given as `provider`, `inboxId` and `id`. */
export const ofProviderId = and(
  eq(e.provider, placeholder('provider')),
  eq(e.inboxId, placeholder('inboxId')),
  eq(e.providerMessageId, placeholder('id')),
)
/** A condition: the mail in the row given as `row`. */
export const ofRow = sql`${row} = ${placeholder('row')}`

const selectByProviderId = prepareRead((db) => db.select({ row }).from(e).where(ofProviderId).prepare())
/** What is found by this has to be the mail of this event. */
const selectNamed = prepareRead((db) =>
  db
    .select({ named: known.mail, found: sql<number | null>`${row}` })
    .from(known)
    .leftJoin(e, and(sql`${row} = ${known.mail}`, eq(e.eventId, placeholder('eventId'))))
    .where(eq(known.eventId, sql`unhex(${placeholder('eventId')}, '-')`))
    .prepare(),
)
/** Reads all mails: only for a ledger that is wrong, after somebody has written to the file. */
const searchMails = prepareRead((db) =>
  db
    .select({ row })
    .from(e)
    .where(eq(e.eventId, placeholder('eventId')))
    .limit(1)
    .prepare(),
)

/** The row of a mail; null when it is not stored. */
export const mailRow = (reader: UserReader, provider: ProviderUpper, inboxId: string, id: string): number | null =>
  selectByProviderId(reader).get({ provider, inboxId, id })?.row ?? null

/** The row of an event's mail; null when it is not stored here. */
export function mailRowOf(reader: UserReader, eventId: string): number | null {
  const entry = selectNamed(reader).get({ eventId })
  if (entry?.named === null) return null
  return entry?.found ?? searchMails(reader).get({ eventId })?.row ?? null
}
