/**
 * Every kind of fault that the simulator can produce, as a live mailbox meets it, and what its status says then. The types
 * make the table whole: a new kind of fault does not compile before it has a row.
 */
import type { AccountState } from '#shared/contract.ts'
import type { AccountErrorCode } from '#shared/errors.ts'
import type { Fault, ProviderName, Rule } from '../simulator/types.ts'

export type Told = {
  fault: Fault
  match?: (provider: ProviderName) => NonNullable<Rule['match']>
  /** Default: both. */
  only?: ProviderName
  says: readonly [AccountState, AccountErrorCode] | { stays: string }
}

const DOWN = { says: ['retrying', 'PROVIDER_DOWN'] } as const
const polls = (provider: ProviderName) => ({
  route: provider === 'google' ? 'gmail.history.list' : 'graph.mailFolders.delta',
})
const gets = (provider: ProviderName) => ({
  route: provider === 'google' ? 'gmail.messages.get' : 'graph.messages.get',
})
const tokens = (provider: ProviderName) => ({ route: `${provider}.token` })
const lists = (provider: ProviderName) => ({
  route: provider === 'google' ? 'gmail.history.list' : 'graph.messages.delta',
})
const healed = (why: string) => ({ stays: why })

/** A mail comes just after the fault has begun, the access token is about to end, and the mailbox is polled each 30 s. */
export const FAULT_KINDS: Record<Fault['type'], readonly Told[]> = {
  '429': [{ fault: { type: '429', retryAfter: 120 }, match: polls, says: ['throttled', 'THROTTLED'] }],
  '403rate': [
    { fault: { type: '403rate', retryAfter: 120 }, match: polls, only: 'google', says: ['throttled', 'THROTTLED'] },
  ],
  '403scope': [{ fault: { type: '403scope' }, match: polls, says: ['retrying', 'PROVIDER_REFUSED'] }],
  '400precondition': [
    { fault: { type: '400precondition' }, match: gets, only: 'google', says: ['retrying', 'MESSAGE_SET_ASIDE'] },
    { fault: { type: '400precondition' }, match: polls, only: 'google', ...DOWN },
  ],
  '500': [{ fault: { type: '500' }, match: polls, ...DOWN }],
  '502html': [{ fault: { type: '502html' }, match: polls, ...DOWN }],
  '503': [
    { fault: { type: '503' }, match: polls, ...DOWN },
    { fault: { type: '503', retryAfter: 120 }, match: polls, says: ['throttled', 'THROTTLED'] },
  ],
  truncate: (['content-length', 'chunked', 'clean'] as const).map((mode) => ({
    fault: { type: 'truncate', mode },
    match: polls,
    ...DOWN,
  })),
  emptyBody: [{ fault: { type: 'emptyBody' }, match: polls, ...DOWN }],
  htmlOk: [{ fault: { type: 'htmlOk' }, match: polls, ...DOWN }],
  wrongType: [
    { fault: { type: 'wrongType' }, match: polls, ...DOWN },
    { fault: { type: 'wrongType' }, match: gets, only: 'google', says: ['retrying', 'MESSAGE_SET_ASIDE'] },
  ],
  hang: [{ fault: { type: 'hang' }, match: polls, ...DOWN }],
  slow: [{ fault: { type: 'slow', bytesPerSec: 1 }, match: polls, ...DOWN }],
  delay: [{ fault: { type: 'delay', ms: 9_000 }, says: healed('an answer within its deadline is an answer') }],
  reset: (['before', 'midBody'] as const).map((when) => ({ fault: { type: 'reset', when }, match: polls, ...DOWN })),
  gzipBomb: [{ fault: { type: 'gzipBomb' }, match: polls, ...DOWN }],
  numberIds: [{ fault: { type: 'numberIds' }, match: polls, only: 'google', ...DOWN }],
  dropField: [
    { fault: { type: 'dropField', field: 'historyId' }, match: polls, only: 'google', ...DOWN },
    { fault: { type: 'dropField', field: 'value' }, match: polls, only: 'microsoft', ...DOWN },
    {
      fault: { type: 'dropField', field: 'payload' },
      match: gets,
      only: 'google',
      says: ['retrying', 'MESSAGE_SET_ASIDE'],
    },
  ],
  brokenItem: [{ fault: { type: 'brokenItem' }, match: lists, ...DOWN }],
  dupItems: [{ fault: { type: 'dupItems' }, match: lists, says: healed('the id of a mail is stored once') }],
  shuffle: [{ fault: { type: 'shuffle' }, match: lists, says: healed('no order is relied upon') }],
  replay: [
    { fault: { type: 'replay' }, match: lists, only: 'microsoft', says: healed('what is known is passed over') },
  ],
  partialItems: [
    { fault: { type: 'partialItems' }, match: lists, only: 'microsoft', says: healed('the mail is fetched alone') },
  ],
  oneRecord: [
    { fault: { type: 'oneRecord' }, match: lists, only: 'google', says: healed('each kind of change counts') },
  ],
  messagesOnly: [
    {
      fault: { type: 'messagesOnly' },
      match: lists,
      only: 'google',
      says: healed('the mail is fetched, and judged then'),
    },
  ],
  lateHistory: [
    {
      fault: { type: 'lateHistory', ms: 90_000 },
      match: lists,
      only: 'google',
      says: healed('it comes at a later poll'),
    },
  ],
  historyLess: [
    {
      fault: { type: 'historyLess' },
      match: (provider) => ({ ...lists(provider), every: 2 }),
      says: healed('the next page is asked for'),
    },
  ],
  vanish: [{ fault: { type: 'vanish' }, match: lists, only: 'microsoft', says: healed('what is deleted is no mail') }],
  transient404: [
    {
      fault: { type: 'transient404', ms: 4_000 },
      match: gets,
      only: 'google',
      says: healed('it is found at the second try'),
    },
  ],
  expireHistory: [
    { fault: { type: 'expireHistory' }, match: polls, only: 'google', says: ['retrying', 'CURSOR_EXPIRED'] },
  ],
  expireDelta: (['resyncRequired', 'SyncStateNotFound', 'syncStateInvalid'] as const).map((code) => ({
    fault: { type: 'expireDelta', code },
    match: lists,
    only: 'microsoft',
    says: ['retrying', 'CURSOR_EXPIRED'],
  })),
  badPageToken: [
    { fault: { type: 'badPageToken' }, match: polls, only: 'microsoft', says: ['retrying', 'CURSOR_EXPIRED'] },
    { fault: { type: 'badPageToken' }, match: polls, only: 'google', says: healed('a poll has no page token') },
  ],
  '401untilRefresh': [
    { fault: { type: '401untilRefresh' }, match: polls, says: ['needs_reauth', 'AUTH_EXPIRED'] },
    {
      fault: { type: '401untilRefresh' },
      match: (provider) => ({ ...polls(provider), nth: 1 }),
      says: healed('one refresh'),
    },
  ],
  invalid_grant: [{ fault: { type: 'invalid_grant' }, match: tokens, says: ['needs_reauth', 'AUTH_EXPIRED'] }],
  invalid_client: [{ fault: { type: 'invalid_client' }, match: tokens, says: ['retrying', 'PROVIDER_NOT_CONFIGURED'] }],
  token5xx: [{ fault: { type: 'token5xx' }, match: tokens, ...DOWN }],
  clockSkew: [{ fault: { type: 'clockSkew', s: 3_600 }, says: healed('nothing is measured by it but a named wait') }],
}
