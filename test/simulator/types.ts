/**
 * Owns the words the simulator's parts share: specs, mutations, faults, log entries, requests and answers.
 * Refuses to import anything of the product: the simulator is an independent oracle.
 */
export type ProviderName = 'google' | 'microsoft'
export type QuotaProfile = '2026-05' | 'legacy' | 'fast'
export type Paging = 'keyset' | 'offset'

/** Shares (0..1) of the seeded mails that are of a kind or have a trait; what is left is ordinary received mail. */
export interface Mix {
  sent: number
  draft: number
  spam: number
  trash: number
  chat: number
  archived: number
  eventMessage: number
  nonAscii: number
  hugeTo: number
  missingDate: number
}

export interface MailboxSpec {
  user: string
  provider: ProviderName
  /** Number of seeded mails; message i is a pure function of (seed, mailbox, i). */
  n: number
  seed?: number
  /** Google: names of user labels. Microsoft: folder paths, for example `Projects/Alpha` or `deleteditems/Old`. */
  folders?: readonly string[]
  mix?: Partial<Mix>
}

export interface Credentials {
  access_token: string
  refresh_token: string
  /** Seconds. */
  expires_in: number
  address: string
}

export interface Person {
  name: string
  address: string
}

/** What a delivered mail may fix; everything else comes from the seed. */
export interface Overrides {
  subject?: string
  from?: Person
  to?: readonly Person[]
  cc?: readonly Person[]
  preview?: string
  /** Google only: raw header lines instead of the generated ones. */
  headers?: readonly { name: string; value: string }[]
  /** Epoch ms; default is the clock of the simulator. */
  receivedMs?: number
}

interface Target {
  user: string
  provider: ProviderName
}
interface OneMail extends Target {
  id: string
}

/** One change of the outside world. `folder` is a well-known name, a path or an id (Microsoft). */
export type Mutation =
  | ({ type: 'deliver'; labels?: readonly string[]; folder?: string } & Overrides & Target)
  | ({ type: 'label'; add?: readonly string[]; remove?: readonly string[] } & OneMail)
  | ({ type: 'move'; to: string } & OneMail)
  | ({ type: 'markRead'; isRead?: boolean } & OneMail)
  | ({ type: 'delete' } & OneMail)
  | ({ type: 'trash' } & OneMail)
  | ({ type: 'unspam' } & OneMail)
  | ({ type: 'draftSave'; id?: string } & Overrides & Target)
  | ({ type: 'send'; id?: string } & Overrides & Target)
  | ({ type: 'createFolder'; name: string } & Target)
  | ({ type: 'deleteFolder'; folder: string } & Target)

/** How Graph says that the state behind a link is gone. */
export type ForgottenState = 'resyncRequired' | 'SyncStateNotFound' | 'syncStateInvalid'

export type Fault =
  | { type: '429'; retryAfter: number }
  | { type: '403rate'; retryAfter: number; reason?: 'rateLimitExceeded' | 'userRateLimitExceeded' }
  | { type: '503'; retryAfter?: number }
  | { type: '400precondition' | '403scope' | '500' | '502html' }
  | { type: 'truncate'; mode: 'content-length' | 'chunked' | 'clean' }
  | { type: 'emptyBody' | 'htmlOk' | 'wrongType' | 'hang' }
  | { type: 'slow'; bytesPerSec: number }
  | { type: 'delay'; ms: number }
  | { type: 'reset'; when: 'before' | 'midBody' }
  /** Lists: items twice; another order (not history); Graph pages that repeat items of the page before. */
  | { type: 'dupItems' | 'shuffle' | 'replay' }
  /** Graph mails with few properties; a page without items and a next link; a history record with bare `messages`. */
  | { type: 'partialItems' | 'historyLess' | 'messagesOnly' }
  | { type: 'dropField'; field: string }
  /** The first item of a list is no item; Gmail's history ids as JSON numbers; all changes of a history page in one record. */
  | { type: 'brokenItem' | 'numberIds' | 'oneRecord' }
  /** Gmail's history does not know yet what happened in the last `ms`. */
  | { type: 'lateHistory'; ms: number }
  /** A small body that grows to 48 MiB. */
  | { type: 'gzipBomb' }
  | { type: 'vanish'; count?: number }
  | { type: 'transient404'; ms: number }
  | { type: 'expireHistory' }
  | { type: 'expireDelta'; code: ForgottenState }
  | { type: 'badPageToken'; reason?: string }
  | { type: '401untilRefresh' | 'invalid_grant' | 'invalid_client' | 'token5xx' }
  | { type: 'clockSkew'; s: number }

export interface Rule {
  match?: {
    provider?: ProviderName
    /** Exact route name or a prefix ending in `*`, for example `gmail.messages.get`, `graph.*`. */
    route?: string
    /** User of the mailbox. */
    mailbox?: string
    /** Only the nth matching request (1 is the first). */
    nth?: number
    /** Each kth matching request. */
    every?: number
    /** Seeded probability 0..1. */
    p?: number
  }
  fault: Fault
  /** At most this many times; default 1 with `nth`, otherwise unlimited. */
  times?: number
}

export interface LogEntry {
  /** Epoch ms of the simulator's clock. */
  t: number
  method: string
  /** Route name, for example `gmail.messages.get`; `unexpected` when no route matches. */
  route: string
  /** Path and query. */
  url: string
  mailbox: string | null
  provider: ProviderName | null
  /** Quota units (Google) or requests (Microsoft). */
  cost: number
  status: number
  /** Requests of this mailbox in flight, this one included. */
  inflight: number
  fault?: Fault['type']
  unexpected?: true
  /** True for a part of a batch. */
  batched?: true
}

export interface Truth {
  /** Ids that must have been received exactly once. */
  must: string[]
  /** Ids that never were an event. Ids in neither list may or may not have been seen. */
  mustNot: string[]
}

export interface SimRequest {
  method: string
  url: URL
  /** Lower-case names. */
  headers: Record<string, string>
  body: string
}

export interface Answer {
  status: number
  headers?: Record<string, string>
  /** An object is sent as JSON, a string as it is, undefined as no body. */
  body?: object | string
}

/** Monotonic time; a sleep rejects with an AbortError when it ends early. */
export interface Time {
  monoMs: () => number
  sleep: (ms: number, signal: AbortSignal) => Promise<void>
}

export interface Clock {
  now: () => number
  advance: (ms: number) => void
}
