/**
 * The status of users who are asked about again and again, as a progress bar does: it is looked up before it is asked for,
 * so that the answer does not wait for the work of the other thread. None is older than a second.
 */
import type { StatusReply } from '#shared/contract.ts'
import type { Log } from '#shared/log.ts'
import { lru } from '#shared/lru.ts'
import type { Clock } from '../base/time.ts'
import type { StatusSeen } from './calls.ts'

/** An older one is not shown. */
const AGE_MAX_MS = 1_000
const LOOK_EVERY_MS = 250
/** Who was asked about twice within so long is looked up until nobody has asked for so long. */
const FOLLOWED_MS = 10_000
const USERS_MAX = 200

/** `seen`: null of those who are not followed, who belong to another instance, or whose status could not be looked up. */
type Asked = { askedMs: number; isFollowed: boolean; seen: { reply: StatusReply; atMs: number } | null }
type Look = (userId: string) => Promise<StatusSeen>

export class RecentStatus implements Disposable {
  readonly #look: Look
  readonly #clock: Pick<Clock, 'monoMs'>
  readonly #log: Log
  readonly #asked = lru<Asked>(USERS_MAX)
  /** Bound: the requests under way, and those who are followed. */
  readonly #looks = new Map<string, Promise<StatusSeen>>()
  #timer: NodeJS.Timeout | null = null

  constructor(look: Look, clock: Pick<Clock, 'monoMs'>, log: Log) {
    this.#look = look
    this.#clock = clock
    this.#log = log
  }

  /** @throws what the look throws */
  async ask(userId: string): Promise<StatusReply> {
    const nowMs = this.#clock.monoMs()
    const { askedMs, seen } = this.#asked.get(userId) ?? { askedMs: Number.NEGATIVE_INFINITY, seen: null }
    this.#asked.set(userId, { askedMs: nowMs, isFollowed: nowMs - askedMs <= FOLLOWED_MS, seen })
    this.#timer ??= setInterval(() => this.#lookAgain(), LOOK_EVERY_MS).unref()
    if (seen !== null && nowMs - seen.atMs <= AGE_MAX_MS) return seen.reply
    return (await (this.#looks.get(userId) ?? this.#begin(userId, nowMs))).reply
  }

  /** Something of the user was changed: what was looked up before, or is being looked up, is not shown. */
  changed(userId: string): void {
    this.#looks.delete(userId)
    const asked = this.#asked.get(userId)
    if (asked !== undefined) asked.seen = null
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer ?? undefined)
    this.#asked.clear()
  }

  #begin(userId: string, atMs: number): Promise<StatusSeen> {
    const look = this.#look(userId)
    this.#looks.set(userId, look)
    const end = (seen: Asked['seen']): void => {
      if (this.#looks.get(userId) !== look) return
      this.#looks.delete(userId)
      const asked = this.#asked.peek(userId)
      if (asked !== undefined) asked.seen = asked.isFollowed ? seen : null
    }
    // Of a user of another instance only that one hears of changes.
    look.then(({ reply, isOwn }) => end(isOwn ? { reply, atMs } : null)).catch(() => end(null))
    return look
  }

  #lookAgain(): void {
    const nowMs = this.#clock.monoMs()
    for (const [userId, { askedMs, seen }] of [...this.#asked.entries()]) {
      if (nowMs - askedMs > FOLLOWED_MS) this.#asked.delete(userId)
      else if (seen !== null && !this.#looks.has(userId))
        this.#begin(userId, nowMs).catch((error) => this.#log.debug({ err: error }, 'a status could not be looked up'))
    }
    if (this.#asked.size > 0) return
    clearInterval(this.#timer ?? undefined)
    this.#timer = null
  }
}
