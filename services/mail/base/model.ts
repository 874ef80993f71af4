/** The words that the parts of the mail service share. Types and pure one-liners only; no behaviour. */
import { PROVIDER_UPPER } from '#shared/event.ts'
import type { ProviderName } from '#shared/subjects.ts'

export type { ProviderName } from '#shared/subjects.ts'

/** One mailbox of one user. */
export type AccountRef = { userId: string; provider: ProviderName; inboxId: string }

/** `user:inbox:PROVIDER`, as `running_syncs` lists it. */
export const accountName = (account: AccountRef): string =>
  `${account.userId}:${account.inboxId}:${PROVIDER_UPPER[account.provider]}`

/** `<provider>.<inbox>`, as the record of a user in `mail_state` names an account. */
export const stateName = ({ provider, inboxId }: Pick<AccountRef, 'provider' | 'inboxId'>): string =>
  `${provider}.${inboxId}`

/**
 * A term of ownership: the era of `mail_leases` in ms, which is the creation time of its stream or what was recorded when
 * it went backwards; then the revision of the write that made an instance the owner. Compared in that order, because a
 * bucket that was made anew or went backwards gives its revisions out again.
 */
export type Epoch = { era: number; rev: number }

/** Negative when a is older than b, 0 when equal, positive when newer. */
export const compareEpochs = (a: Epoch, b: Epoch): number => a.era - b.era || a.rev - b.rev

/** Metadata of one mail, the same for every provider. */
export type MessageMeta = {
  id: string
  threadId: string | null
  /** Epoch seconds by the provider's clock; null when it has none. */
  msgDate: number | null
  subject: string
  /** Bare address as written; unparsable text is kept whole. */
  sender: string
  to: string[]
  cc: string[]
  bcc: string[]
  snippet: string
  headers: Record<string, string>
  labels: string[]
}

/** A position of the provider that moves by itself, for example Gmail `history` or Graph `folder:<id>`. */
export type LaneState = {
  lane: string
  /** Opaque to everybody but the adapter; null = from the start. */
  cursor: string | null
  /** The walk that is under way has reached its end; a polled lane is then asked again at each interval. */
  done: boolean
  /** Wall clock in ms before which the lane must not be asked. */
  notBeforeMs: number
  failures: number
  /** Wall clock in ms of the last page that was committed. */
  syncedMs: number
  /** How often, and when last, the provider forgot the position. */
  resets: number
  resetMs: number
}

/** Beginning of the lanes that walk one folder each; the lane of the folders makes them, again if need be. */
export const FOLDER_LANE = 'folder:'
export const isFolderLane = (lane: string): boolean => lane.startsWith(FOLDER_LANE)

const REFILL = 'refill'

/** `refill`, or `refill:<what>` where a provider needs more than one. */
export const refillLane = (what?: string): string => (what === undefined ? REFILL : `${REFILL}:${what}`)
/**
 * A lane that fetches rows which a new database lacks; it publishes nothing that is known. It runs when everything else
 * is done, never polls, and is dropped by its last page.
 */
export const isRefill = (lane: string): boolean => lane === REFILL || lane.startsWith(`${REFILL}:`)

const AUDIT = 'audit'

/** `audit`, or `audit:<what>` where a provider needs more than one. */
export const auditLane = (what?: string): string => (what === undefined ? AUDIT : `${AUDIT}:${what}`)
/** The part of an audit that reads the stream in place of a provider. */
export const AUDIT_STREAM = 'audit-stream'
/**
 * A lane that compares what there is with what is known, and brings what is missing. It runs when everything else is done,
 * refills too, and is dropped by its last page.
 */
export const isAudit = (lane: string): boolean =>
  lane === AUDIT || lane === AUDIT_STREAM || lane.startsWith(`${AUDIT}:`)

/** A lane that goes once more over what others have passed: behind everything, and of this disk only. */
export const isRewalk = (lane: string): boolean => isRefill(lane) || isAudit(lane)

/** Wall-clock milliseconds to epoch seconds. */
export const toSeconds = (ms: number): number => Math.floor(ms / 1000)
