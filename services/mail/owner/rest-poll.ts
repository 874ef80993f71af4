/**
 * Polls for a user at rest. They go on from the last checkpoint, open no database and write nothing: as long as they find
 * nothing there is nothing for which the user would have to be taken over. Whatever else they meet is left to the worker.
 */
import type { Log } from '#shared/log.ts'
import { type AccountRef, accountName, type LaneState, stateName } from '../base/model.ts'
import { longestIntervalMs, nextPollMs, type Pace, slotOf } from '../base/slot.ts'
import type { Clock } from '../base/time.ts'
import type { Accounts } from '../kv/accounts.ts'
import type { CheckpointRecord, Checkpoints } from '../kv/checkpoint.ts'
import type { Relay } from '../outbox/relay.ts'
import type { Standing, StreamFacts } from '../outbox/stream-facts.ts'
import type { IdlePoll } from '../sync/idle-poll.ts'
import { lastNewsMs } from './checkpoint-record.ts'
import { renewalS } from './snapshotter.ts'
import { isAsked, isQuiet } from './start-time.ts'
import type { Term } from './term.ts'

const NOT_OWNER_MS = 1_000
/** A poll that is further away from its moment is early because the wall clock was set back. */
const EARLY_MS = 1_000

export type RestPollDeps = {
  checkpoints: Pick<Checkpoints, 'read'>
  accounts: Pick<Accounts, 'ofUser' | 'isToErase'>
  clock: Clock
  log: Log
  pace: Pace
  retentionMs: number
  relay: Pick<Relay, 'doubts'>
  streamFacts(): Promise<StreamFacts>
  /** What stands on the stream at a sequence; null = nothing. */
  eventAt(userId: string, seq: number): Promise<Standing | null>
  /** How an account is polled from these lanes; null = not at rest. */
  idlePoll(account: AccountRef, lanes: readonly LaneState[]): IdlePoll | null
  /** Test-only control arm: a stream that has lost events is not noticed. */
  looksAtStream?: false
}

/** `polledMs`: when it was polled at rest, 0 = not yet. `dueMs`: of the next poll, epoch ms; 0 = at once. */
type Mailbox = { account: AccountRef; polledMs: number; newsMs: number; dueMs: number; poll: IdlePoll }
type Known = { mailboxes: Mailbox[]; slot: number; until: number } & Pick<
  CheckpointRecord,
  'pub' | 'pubEventId' | 'streamCreatedMs'
>

/** Asked before each poll: whether the user may still be polled from here. */
type Owner = { readonly mayAsk: boolean }

export class RestPoll {
  readonly #term: Pick<Term, 'userId' | 'before'>
  readonly #owner: Owner
  readonly #deps: RestPollDeps
  #known: Known | null = null
  /** The doubts of the relay when the stream was last seen to hold what the checkpoint says of it; null = not yet. */
  #doubts: number | null = null

  constructor(term: Pick<Term, 'userId' | 'before'>, owner: Owner, deps: RestPollDeps) {
    this.#term = term
    this.#owner = owner
    this.#deps = deps
  }

  /** When each mailbox was polled last, epoch ms, by the name of the account. */
  get polledMs(): ReadonlyMap<string, number> {
    const polled = new Map(this.#term.before)
    for (const { account, polledMs } of this.#known?.mailboxes ?? [])
      if (polledMs > 0) polled.set(accountName(account), polledMs)
    return polled
  }

  /** The accounts ask for nothing but the polls that are made; a credential that was renewed is read by the next one. */
  get isAsKnown(): boolean {
    const { accounts } = this.#deps
    const { userId } = this.#term
    if (this.#known === null || accounts.isToErase(userId)) return false
    const { mailboxes } = this.#known
    let connected = 0
    for (const { account, record } of accounts.ofUser(userId)) {
      if (isAsked(record)) return false
      if (record.desired !== 'connected') continue
      connected += 1
      if (record.reauth !== null || record.credential === null || !mailboxes.some((one) => isOf(one, account)))
        return false
    }
    return connected === mailboxes.length
  }

  /**
   * Asks every mailbox whose moment has come.
   * @param dueMs that moment, epoch ms
   * @returns when the next one is due, epoch ms; null = there is more to do for the user, or nobody knows
   * @throws the signal's reason
   */
  async ask(dueMs: number, signal: AbortSignal): Promise<number | null> {
    const { clock, log, relay } = this.#deps
    if (!this.#owner.mayAsk) return clock.wallMs() + NOT_OWNER_MS
    try {
      if (this.#known === null) this.#known = await this.#look()
      if (this.#known === null || !this.isAsKnown || clock.wallMs() >= this.#known.until) return null
      if (this.#doubts !== relay.doubts) {
        const { doubts } = relay
        if (!(await this.#isOnStream(this.#known))) return null
        signal.throwIfAborted()
        this.#doubts = doubts
      }
      return await this.#pollDue(this.#known, dueMs, signal)
    } catch (error) {
      signal.throwIfAborted()
      log.debug({ err: error, user: this.#term.userId }, 'a poll of a user at rest failed; the user is started')
      return null
    }
  }

  async #pollDue({ mailboxes, slot }: Known, dueMs: number, signal: AbortSignal): Promise<number | null> {
    const { clock, pace } = this.#deps
    // Whatever the clock said before, or says later, no mailbox waits longer.
    const longestMs = longestIntervalMs(pace)
    let nextMs = Number.POSITIVE_INFINITY
    for (const mailbox of mailboxes) {
      if (mailbox.dueMs <= dueMs || mailbox.dueMs > clock.wallMs() + longestMs) {
        const found = await mailbox.poll.ask(signal)
        if (found === false) return null
        this.#polled(mailbox, dueMs, found, slot)
      }
      nextMs = Math.min(nextMs, mailbox.dueMs)
    }
    return Math.min(clock.wallMs() + longestMs, nextMs)
  }

  /** @param found true, or how long the mailbox is not to be asked, ms */
  #polled(mailbox: Mailbox, dueMs: number, found: true | number, slot: number): void {
    const { clock, pace } = this.#deps
    const nowMs = clock.wallMs()
    if (found !== true) {
      mailbox.dueMs = nowMs + found
      return
    }
    mailbox.polledMs = nowMs
    // A timer may be a little early: the same moment does not come twice.
    const afterMs = dueMs - nowMs < EARLY_MS ? Math.max(dueMs, nowMs) : nowMs
    mailbox.dueMs = nextPollMs(afterMs, { pace, slot, newsMs: mailbox.newsMs })
  }

  /** From where to poll; null when the checkpoint speaks of more than polls, or is to be renewed. */
  async #look(): Promise<Known | null> {
    const { checkpoints, accounts, retentionMs, idlePoll } = this.#deps
    const { userId } = this.#term
    const record = (await checkpoints.read(userId))?.record
    const entries = accounts.ofUser(userId)
    if (record === undefined || !entries.every((entry) => isQuiet(entry, record.accounts))) return null
    const mailboxes: Mailbox[] = []
    for (const entry of entries) {
      const { account } = entry
      if (entry.record.desired !== 'connected') continue
      const poll = idlePoll(account, record.lanes[stateName(account)] ?? [])
      if (poll === null) return null
      mailboxes.push({ account, polledMs: 0, newsMs: lastNewsMs(record, entry), dueMs: 0, poll })
    }
    if (mailboxes.length === 0) return null
    const { pub, pubEventId, streamCreatedMs, ts, unsavedSince } = record
    // Only whoever has taken the user over may say that nothing has happened.
    const until = 1_000 * (Math.min(ts, unsavedSince ?? Number.POSITIVE_INFINITY) + renewalS(retentionMs / 1_000))
    // Cut to size: what an array has grown to in vain stays with each user.
    return { mailboxes: mailboxes.slice(), slot: slotOf(userId), until, pub, pubEventId, streamCreatedMs }
  }

  /** The last event of the user stands where it stood, or is too old to stand anywhere: facts may be a second old, it is not. */
  async #isOnStream({ pub, pubEventId, streamCreatedMs }: Known): Promise<boolean> {
    if (this.#deps.looksAtStream === false) return true
    const { createdMs, firstSeq } = await this.#deps.streamFacts()
    if (createdMs !== streamCreatedMs) return false
    if (pub === 0 || pub < firstSeq) return true
    const found = await this.#deps.eventAt(this.#term.userId, pub)
    return found?.isOfUser === true && found.eventId === pubEventId
  }
}

const isOf = ({ account: one }: Mailbox, other: AccountRef): boolean =>
  one === other || accountName(one) === accountName(other)
