/**
 * A fleet seen from outside: who owns whom by the lease log, and whether each owner answers for its users. It changes
 * nothing, but that asking starts users who are at rest.
 */
import { type KV, Kvm } from '@nats-io/kv'
import PQueue from 'p-queue'
import type { NatsConnection } from '#shared/nats.ts'
import { atSubject, BUCKET_LEASES, parseLeaseKey } from '#shared/subjects.ts'
import { encodeUser } from '#shared/user-token.ts'
import { until } from './until.ts'

const ASKED_AT_ONCE = 8
const ANSWER_MS = 5_000

type Session = { sid: string; name: string; address: string; state: 'live' | 'draining' | 'dead'; seenMs: number }
type Ownership = {
  /** sid of the owner; null when the user was released. */
  owner: string | null
  /** When the server stored the lease that names this owner, ms on the clock of `performance.now()`. */
  ownedMs: number
}

export class FleetWatch implements AsyncDisposable {
  readonly sessions = new Map<string, Session>()
  readonly users = new Map<string, Ownership>()
  /** Lease records that were seen; a user that moves once has two more. */
  leaseWrites = 0
  readonly #nc: NatsConnection
  readonly #kv: KV
  /** The highest revision of a lease. */
  #heard = 0
  #stop: () => void = () => undefined
  #following: Promise<void> = Promise.resolve()

  private constructor(nc: NatsConnection, kv: KV) {
    this.#nc = nc
    this.#kv = kv
  }

  /** @param nc may read the leases and ask owners: the role ops. */
  static async start(nc: NatsConnection): Promise<FleetWatch> {
    const kv = await until('the leases are there', () => new Kvm(nc).open(BUCKET_LEASES))
    const watch = new FleetWatch(nc, kv)
    await watch.resume()
    return watch
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.suspend()
  }

  /** Looks away, so that nothing of what happens is spent on looking. */
  async suspend(): Promise<void> {
    this.#stop()
    await this.#following
  }

  /** Looks again: at what is there, and when the server got it. */
  async resume(): Promise<void> {
    const watch = await this.#kv.watch()
    this.#stop = () => watch.stop()
    this.#following = this.#follow(watch)
  }

  /** sid of the newest live session of the instance. */
  sidOf(name: string): string {
    const found = [...this.sessions.values()].filter((session) => session.name === name && session.state === 'live')
    const sid = found
      .map((session) => session.sid)
      .sort()
      .at(-1)
    if (sid === undefined) throw new Error(`${name} has no live session`)
    return sid
  }
  get liveNames(): string[] {
    return [...new Set([...this.sessions.values()].filter(({ state }) => state === 'live').map(({ name }) => name))]
  }
  usersOf(name: string): string[] {
    const sid = this.sidOf(name)
    return [...this.users].filter(([, { owner }]) => owner === sid).map(([user]) => user)
  }
  /** Name of the live instance that owns the user; null while there is none. */
  ownerOf(user: string): string | null {
    const owner = this.users.get(user)?.owner ?? null
    const session = owner === null ? undefined : this.sessions.get(owner)
    return session === undefined || session.state === 'dead' ? null : session.name
  }
  /** Waits until somebody owns each of the users, and `fits` holds for who it is. Counts only, so it may be asked often. */
  async settled(
    users: readonly string[],
    fits: (name: string, user: string) => boolean,
    timeoutMs: number,
  ): Promise<void> {
    const misses = (): string[] =>
      users.filter((user) => {
        const name = this.ownerOf(user)
        return name === null || !fits(name, user)
      })
    await until(
      'each user is owned',
      () => {
        const left = misses()
        if (left.length > 0) throw new Error(`${left.length} users are left, ${left.slice(0, 3).join(', ')} among them`)
        return true
      },
      { timeoutMs, everyMs: 20 },
    )
  }
  /** The users whose owner does not answer for them itself. */
  async silent(users: readonly string[]): Promise<string[]> {
    const queue = new PQueue({ concurrency: ASKED_AT_ONCE })
    const answers = await queue.addAll(users.map((user) => () => this.#answers(user)))
    return users.filter((_user, i) => answers[i] !== true)
  }

  async #follow(watch: Awaited<ReturnType<KV['watch']>>): Promise<void> {
    for await (const entry of watch) {
      const parts = parseLeaseKey(entry.key)
      if (parts === null) continue
      const value = entry.length > 0 ? entry.json<Record<string, string | null>>() : null
      if ('sid' in parts) this.#session(parts.sid, value as Omit<Session, 'sid' | 'seenMs'> | null)
      else {
        // After a look away what is there is told again.
        if (entry.revision > this.#heard) this.leaseWrites += 1
        this.#heard = Math.max(this.#heard, entry.revision)
        this.#lease(parts.userId, value?.owner ?? null, entry.created)
      }
    }
  }

  #session(sid: string, record: Omit<Session, 'sid' | 'seenMs'> | null): void {
    if (record === null) this.sessions.delete(sid)
    else {
      const { name, address, state } = record
      this.sessions.set(sid, { sid, name, address, state, seenMs: this.sessions.get(sid)?.seenMs ?? performance.now() })
    }
  }

  #lease(user: string, owner: string | null, created: Date): void {
    this.users.set(user, { owner, ownedMs: created.getTime() - performance.timeOrigin })
  }

  async #answers(user: string): Promise<boolean> {
    const session = this.sessions.get(this.users.get(user)?.owner ?? '')
    if (session === undefined) return false
    try {
      const reply = await this.#nc.request(atSubject(session.address, 'status'), encodeUser(user), {
        timeout: ANSWER_MS,
      })
      return (reply.json<{ accounts: unknown[] | null }>().accounts ?? []).length > 0
    } catch {
      // A dead owner does not answer, one that stops no longer listens.
      return false
    }
  }
}
