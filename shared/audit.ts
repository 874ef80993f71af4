/**
 * The request and the reply of `mail.as.<user>.audit`: begins an audit of every connected mailbox of a user, or joins the one
 * that runs, and says what it has found so far. Answered at once, by the owner, through any instance.
 */
import * as v from 'valibot'
import { count, provider } from './contract.ts'

export const AuditRequest = v.strictObject({
  start: v.optional(v.pipe(v.boolean(), v.description('begin one where none runs')), false),
})

/** `walking`: the first walk is not over, and is a proof itself; `blocked`: the mailbox cannot be asked, see the status. */
export const AUDIT_STATES = ['never', 'walking', 'running', 'interrupted', 'blocked', 'done'] as const
export const FINDINGS = ['missing', 'extra', 'twice', 'absent'] as const

const epochSeconds = v.nullable(v.pipe(v.number(), v.integer(), v.description('epoch seconds')))

const AccountAudit = v.object({
  provider,
  inbox_id: v.string(),
  state: v.picklist(AUDIT_STATES),
  started_at: epochSeconds,
  finished_at: epochSeconds,
  provider_total: v.pipe(v.nullable(count), v.description('stored mails that the mailbox listed')),
  stored: count,
  published: v.pipe(count, v.description('at least; what waits in the outbox counts for each mailbox of the user')),
  missing: v.pipe(count, v.description('mails of the mailbox that had no row; they were fetched')),
  extra: v.pipe(count, v.description("messages on the user's subject that are no event known here")),
  twice: v.pipe(count, v.description('second copies of events')),
  absent: v.pipe(count, v.description('events that the stream should have and had not; they are published again')),
  stale: v.pipe(v.boolean(), v.description('three polls were missed: the position is older than it should be')),
  gone: v.pipe(
    v.nullable(count),
    v.description('stored mails that the mailbox does not list: deleted since, no fault'),
  ),
  passes: v.pipe(count, v.description('walks over the whole mailbox; the last one found nothing')),
  cost: v.pipe(count, v.description('quota units of Gmail, requests of Graph')),
  proven_at: epochSeconds,
  findings: v.pipe(
    v.array(v.object({ what: v.picklist(FINDINGS), event_id: v.nullable(v.string()), sequence: v.nullable(count) })),
    v.description('the first 20 of what was found'),
  ),
})
export type AccountAudit = v.InferOutput<typeof AccountAudit>

export const AuditReply = v.object({
  user_id: v.string(),
  instance: v.pipe(v.string(), v.description('the owner, which answered')),
  accounts: v.pipe(v.array(AccountAudit), v.description('those that are connected')),
})
export type AuditReply = v.InferOutput<typeof AuditReply>

/** Whether an audit found what should not be. */
export const isClean = ({ missing, extra, twice, absent, stale }: AccountAudit): boolean =>
  missing + extra + twice + absent === 0 && !stale

export const AUDIT_EXAMPLE: AuditReply = {
  user_id: 'user_abc123',
  instance: 'mail-1',
  accounts: [
    {
      provider: 'google',
      inbox_id: 'primary',
      state: 'done',
      started_at: 1699999900,
      finished_at: 1699999999,
      provider_total: 5190,
      stored: 5200,
      published: 5200,
      missing: 1,
      extra: 0,
      twice: 0,
      absent: 0,
      stale: false,
      gone: 10,
      passes: 2,
      cost: 130,
      proven_at: 1699999999,
      findings: [{ what: 'missing', event_id: '057f1fc2-f325-5ecb-99d8-a3b7c8b7c6a8', sequence: null }],
    },
  ],
}
