/**
 * The contract of a provider adapter. Adapters are stateless: they ask the provider for one page and say what it means;
 * the worker owns all state and moves it in one transaction per page. An adapter never retries, sleeps or stores.
 */
import type { Secret } from '#shared/secret.ts'
import type { MessageMeta, ProviderName } from '../base/model.ts'

/** Order in which waiting calls of one mailbox get their turn. */
export type Priority = 'incremental' | 'connect' | 'backfill' | 'refill'

/** The mailbox's share of the provider's quota. */
export type Limiter = {
  /** How many requests of this cost make a batch now: what is granted within 1.6 s, fewer after throttling; at least 1. */
  batchSize(cost: number, priority: Priority): number
  /**
   * Waits for a turn, then runs one request. Rejects with the signal's reason while waiting.
   * @param cost Gmail quota units, of a batch those of all its parts; 1 for a Graph request.
   */
  run<T>(
    cost: number,
    priority: Priority,
    signal: AbortSignal,
    request: (signal: AbortSignal) => Promise<T>,
  ): Promise<T>
  /** What is left of an announced pause, ms. */
  readonly pausedMs: number
  /** Part of a request was throttled: an announced pause holds from now on. `run` does so with what its request throws. */
  refused(facts: ProviderErrorFacts): void
}

/** What a call to the provider needs. */
export type Call = { accessToken: Secret; limiter: Limiter; priority: Priority; signal: AbortSignal }

/** Who the credential belongs to. */
export type Identity = {
  /** Binds the account: Gmail the address in lower case, Graph the id of the inbox folder. */
  mailbox: string
  address: string | null
  totalEstimate: number | null
}

export type LaneUpdate = { lane: string; cursor: string | null; done: boolean }

/** A message that was asked for and did not come. */
export type FailedMessage = {
  id: string
  /**
   * missing: the mailbox does not have it · refused: 4xx · unreadable: an object of the wrong shape
   * unavailable: 5xx, no answer, or no JSON
   */
  reason: 'missing' | 'refused' | 'unreadable' | 'unavailable'
  /** For the log. */
  facts?: ProviderErrorFacts
}

export type PageRequest = {
  lane: string
  /** null = from the start. */
  cursor: string | null
  /** Ids taken from the fetch queue; empty for lanes that do not take. */
  take: readonly string[]
  /** Those of them that were asked for before in vain. */
  retried: ReadonlySet<string>
  /** Which of these are stored already and need not be fetched. */
  known(ids: readonly string[]): Set<string>
  /**
   * Which of these are stored, or were published from another disk and will be fetched by a refill that is still there.
   * Without one nobody else brings their rows.
   */
  published(ids: readonly string[]): Set<string>
  /** Which of these wait in the fetch queue. */
  queued(ids: readonly string[]): Set<string>
  /** Cursor of another lane as it is stored now; undefined = there is no such lane. */
  cursorOf(lane: string): string | null | undefined
  /** The provider is known to answer for this account: a take that fails as a whole fails by its messages. */
  accountAnswers: boolean
  /** A few new mails may come with the page that names them: it will be stored, and none waits that arrived before them. */
  fetchesNew: boolean
  /** Whether mail that has just arrived waits, to be fetched or to be stored, for a page that goes on with old mail. */
  hurries(next: string): boolean
}

export type Page = {
  /** New mail in the order in which it is to be stored. Mail that is no event (draft, spam, …) is left out. */
  messages: MessageMeta[]
  /** Ids to fetch, in order. `urgent` ones go before all others and replace a waiting entry of the same id. */
  enqueue: { ids: string[]; urgent: boolean }
  /** Ids that need no longer be fetched: deleted, or fetched and found to be no event. */
  drop: string[]
  /** Messages to be tried again later; everything else of the page counts. */
  failed: FailedMessage[]
  /** New lanes and moved cursors. A lane that is not named stays as it is. */
  lanes: LaneUpdate[]
  /** Lanes that exist no longer (a folder was deleted). */
  dropLanes: string[]
  /** The lane that was asked has more right now. */
  more: boolean
  /** The incremental cursor for `provider_sync_state.cursor`, when it moved. */
  syncCursor?: string
  /** Included messages in the whole mailbox, as far as the provider tells; null = unknown. Absent = no news. */
  totalEstimate?: number | null
  /** Items without an id: counted, logged, passed over. */
  skipped: number
  /**
   * What cut the page off: the provider throttled it, or did not answer about the rest of it. What came counts, ids without
   * an answer stay where they are; once that is stored it is as if this had been thrown.
   */
  cutOff?: unknown
  /** Of an audit: ids that the mailbox has, in which walk over all of them. */
  listed?: { ids: string[]; pass: number }
  /** A walk that is done has found something new to its end: there may be more. */
  unproven?: true
}

/** An empty page that moves nothing. */
export const emptyPage = (): Page => ({
  messages: [],
  enqueue: { ids: [], urgent: false },
  drop: [],
  failed: [],
  lanes: [],
  dropLanes: [],
  more: false,
  skipped: 0,
})

/** What the provider says of one message right now. */
export type Look =
  | { is: 'mail' }
  /** It is there and no event: a draft, spam and the like; `filter` is the label or folder that says so. */
  | { is: 'noEvent'; filter: string }
  | { is: 'missing' | 'refused'; facts: ProviderErrorFacts }
  | { is: 'unreadable' }

export type MailProvider = {
  readonly name: ProviderName
  /** The lane that a new account starts with; its first page names the others. */
  readonly firstLane: string
  /** Asked again at each interval once done (Gmail `history`; Graph `folders`, `folder:<id>`). */
  polled(lane: string): boolean
  /** A position may be asked for any number of times, and stays the same while nothing happens. */
  readonly keepsPositions: boolean
  /** How many ids of the fetch queue the lane takes per page; 0 = none. */
  takes(lane: string): number
  /** The lanes (see `isRefill`) that fetch everything once more that these lanes have passed. */
  refillLanes(lanes: readonly string[]): string[]
  /** The lanes (see `isAudit`) that list everything once more that these lanes have passed, and fetch what has no row. */
  auditLanes(lanes: readonly string[]): string[]
  identify(call: Call): Promise<Identity>
  /**
   * One page of one lane.
   * @throws ProviderError
   */
  page(request: PageRequest, call: Call): Promise<Page>
  /**
   * One message by its id, in one request: for a person who asks where it is. Nothing moves.
   * @throws ProviderError when the answer is not about this message
   */
  look(id: string, request: Pick<PageRequest, 'cursorOf'>, call: Call): Promise<Look>
}

/**
 * auth: the access token was refused · gone: the cursor that was sent is too old or unknown, start from null or `restartCursor`
 * throttled: wait `retryAfterMs` · transient: the same request may work later · rejected: it will not, as it is
 */
export type ProviderErrorKind = 'auth' | 'gone' | 'throttled' | 'transient' | 'rejected'

/** Facts fit for a log: never a token, a URL with a query, or a body. */
export type ProviderErrorFacts = {
  /** For example `gmail.messages.get`. */
  operation: string
  status?: number
  /** The provider's own error code, or one of ours; left out when it is no name. */
  code?: string
  /** Announced wait, measured against the provider's own clock. */
  retryAfterMs?: number
  /** Who is throttled. */
  scope?: 'mailbox' | 'project'
  /** Where a forgotten lane starts again when not from null. */
  restartCursor?: string
}

/** What a provider writes where a code belongs may be a sentence that repeats the token: it would be logged and stored. */
const CODE = /^[A-Za-z_]{1,64}$/

export class ProviderError extends Error {
  override readonly name = 'ProviderError'
  readonly kind: ProviderErrorKind
  readonly facts: ProviderErrorFacts
  constructor(kind: ProviderErrorKind, { code, ...others }: ProviderErrorFacts, options: { cause?: unknown } = {}) {
    const facts: ProviderErrorFacts = code !== undefined && CODE.test(code) ? { ...others, code } : others
    super(
      `${facts.operation}: ${kind}${facts.status === undefined ? '' : ` (${facts.status}${facts.code === undefined ? '' : ` ${facts.code}`})`}`,
      options,
    )
    this.kind = kind
    this.facts = facts
  }
}
