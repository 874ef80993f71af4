/**
 * What is looked for after a user was erased: a canary in every field of a mail that may be a person's, in names of folders and
 * labels, and whatever of addresses, credentials, ids and positions the service keeps by itself.
 */
import type { NatsConnection } from '#shared/nats.ts'
import { readUserDb, recordOf } from '../mail/acceptance/support.ts'
import { eventsOf } from '../support/ledger.ts'
import type { Sandbox } from '../support/sandbox.ts'
import { Canaries } from './canaries.ts'

const word = (field: string): string => `canary.${field}.7f3a`
const address = (field: string): string => `${word(`${field}-at`)}@x.example`
const person = (field: string): { name: string; address: string } => ({ name: word(field), address: address(field) })

export const SUBJECT = word('subject')
/** A folder of Outlook. */
export const FOLDER = word('folder')
/** Of the call that connects: it stands on the audit trail for good, and nowhere else. */
export const REQUEST_ID = word('request')
const HEADERS: Record<string, string> = {
  From: `${word('from')} <${address('from')}>`,
  To: `${word('header')} <${address('header')}>`,
  Bcc: `${word('bcc')} <${address('bcc')}>`,
  'Reply-To': address('reply'),
  Subject: SUBJECT,
  'Message-ID': `<${address('id')}>`,
  'In-Reply-To': `<${address('answered')}>`,
  References: `<${address('thread')}>`,
  'List-Id': `<${word('list')}>`,
}
const LABEL = word('label')
const WORDS: readonly string[] = [
  ...new Set(
    JSON.stringify([HEADERS, FOLDER, LABEL, person('sender'), person('to'), person('cc'), word('preview')]).match(
      /canary\.[a-z-]+\.7f3a/g,
    ),
  ),
]
/** Mails that `deliver` delivers. */
export const DELIVERED = 3

/** Mails with all the words, to both mailboxes of the user. */
export function deliver(box: Sandbox, user: string): void {
  const fields = { subject: SUBJECT, from: person('sender'), to: [person('to')], cc: [person('cc')] }
  const google = { type: 'deliver', provider: 'google', user: box.simUser(user), preview: word('preview') } as const
  const headers = Object.entries(HEADERS).map(([name, value]) => ({ name, value }))
  box.sim.mutate({ ...google, ...fields, labels: ['INBOX', LABEL] })
  box.sim.mutate({ ...google, headers })
  box.sim.mutate({
    ...{ type: 'deliver', provider: 'microsoft', user: box.simUser(user, 'work'), preview: word('preview') },
    ...{ ...fields, folder: FOLDER },
  })
}

export function canariesOf(words: readonly string[]): Canaries {
  const canaries = new Canaries()
  for (const each of words) canaries.add(each, each)
  return canaries
}

/** What others have not as well: addresses end alike, credentials and ids of Outlook begin alike. */
function ownPart(text: string | null): string {
  if (text === null) throw new Error('a field is empty')
  return text.includes('@') ? text.slice(0, text.indexOf('@') + 1) : text.slice(-16)
}

/** Everything that must be gone: the words, and what the service has of the user, as it stands at an instance. */
export async function secretsOf(box: Sandbox, ops: NatsConnection, user: string, instance: string): Promise<string[]> {
  const events = await eventsOf(ops, user)
  const records = [await recordOf(ops, user, 'google'), await recordOf(ops, user, 'microsoft', 'work')]
  return [
    ...WORDS,
    ...records.flatMap(({ mailbox, address: own, credential }) => [mailbox, own, credential].map(ownPart)),
    ...events.flatMap(({ event }) => [event.provider_message_id, event.provider_thread_id].map(ownPart)),
    ...positionsOf(box, user, instance),
  ]
}

/** Ends of the links at which the walks through Outlook stand. */
function positionsOf(box: Sandbox, user: string, instance: string): string[] {
  const sql = `SELECT cursor FROM sync_lanes WHERE cursor LIKE 'http%'`
  const links = readUserDb(box, instance, user, (db) => db.prepare(sql).pluck().all()) as string[]
  if (links.length === 0) throw new Error('no walk stands anywhere')
  return links.map((link) => link.slice(-16))
}
