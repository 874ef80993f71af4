/**
 * A fleet seen from outside: who owns whom by the lease log, and since when the owner itself answers for the user. It
 * asks each owner about few users at a time, so that watching costs the fleet little. It changes nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type KV, Kvm } from '@nats-io/kv'
import type { NatsConnection } from '#shared/nats.ts'
import { atStatusSubject, BUCKET_LEASES, parseLeaseKey } from '#shared/subjects.ts'
import { encodeUser } from '#shared/user-token.ts'
import { until } from './until.ts'

const ASKED_AT_ONCE = 4
const ASK_AGAIN_MS = 50
const ANSWER_MS = 2_000

type Session = { sid: string; name: string; address: string; state: 'live' | 'draining' | 'dead'; seenMs: number }
type Ownership = {
  /** sid of the owner; null when the user was released. */
  owner: string | null
  /** Monotonic time at which the lease was seen to name this owner. */
  ownedMs: number
  /** Monotonic time at which the owner answered for the user; null before. */
  workingMs: number | null
}

export class FleetWatch implements AsyncDisposable {
  readonly sessions = new Map<string, Session>()
  readonly users = new Map<string, Ownership>()
  /** Lease records that were seen; a user that moves once has two more. */
  leaseWrites = 0
  readonly #nc: NatsConnection
  readonly #stop = new AbortController()
  readonly #asking = new Map<string, { queue: string[]; running: number }>()
  #following: Promise<void> = Promise.resolve()

  private constructor(nc: NatsConnection) {
    this.#nc = nc
  }

  /** @param nc may read the leases and ask owners: the role ops. */
  static async start(nc: NatsConnection): Promise<FleetWatch> {
    const watch = new FleetWatch(nc)
    const kv = await until('the leases are there', () => new Kvm(nc).open(BUCKET_LEASES))
    watch.#following = watch.#follow(kv)
    return watch
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#following
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
  /** Name of the live instance that owns the user and answers for it; null while there is none. */
  workerOf(user: string): string | null {
    const found = this.users.get(user)
    if (found?.owner == null || found.workingMs === null) return null
    const session = this.sessions.get(found.owner)
    return session === undefined || session.state === 'dead' ? null : session.name
  }
  /** Waits until somebody works for each of the users, and `fits` holds for who it is. Counts only, so it may be asked often. */
  async settled(
    users: readonly string[],
    fits: (name: string, user: string) => boolean,
    timeoutMs: number,
  ): Promise<void> {
    const misses = (): string[] =>
      users.filter((user) => {
        const name = this.workerOf(user)
        return name === null || !fits(name, user)
      })
    await until(
      'each user is worked for',
      () => {
        const left = misses()
        if (left.length > 0) throw new Error(`${left.length} users are left, ${left.slice(0, 3).join(', ')} among them`)
        return true
      },
      { timeoutMs, everyMs: 20 },
    )
  }

  async #follow(kv: KV): Promise<void> {
    const watch = await kv.watch()
    this.#stop.signal.addEventListener('abort', () => watch.stop(), { once: true })
    for await (const entry of watch) {
      const parts = parseLeaseKey(entry.key)
      if (parts === null) continue
      const value = entry.operation === 'PUT' ? entry.json<Record<string, string | null>>() : null
      if ('sid' in parts) this.#session(parts.sid, value as Omit<Session, 'sid' | 'seenMs'> | null)
      else this.#lease(parts.userId, value?.owner ?? null)
    }
  }

  #session(sid: string, record: Omit<Session, 'sid' | 'seenMs'> | null): void {
    if (record === null) this.sessions.delete(sid)
    else {
      const { name, address, state } = record
      this.sessions.set(sid, { sid, name, address, state, seenMs: this.sessions.get(sid)?.seenMs ?? performance.now() })
    }
  }

  #lease(user: string, owner: string | null): void {
    this.leaseWrites += 1
    this.users.set(user, { owner, ownedMs: performance.now(), workingMs: null })
    if (owner === null) return
    const asking = this.#asking.get(owner) ?? { queue: [], running: 0 }
    this.#asking.set(owner, asking)
    asking.queue.push(user)
    if (asking.running >= ASKED_AT_ONCE) return
    asking.running += 1
    void this.#ask(owner, asking)
  }

  /** Asks the owner about one user after the other until none is left to ask about. */
  async #ask(sid: string, asking: { queue: string[]; running: number }): Promise<void> {
    for (let user = asking.queue.shift(); user !== undefined; user = asking.queue.shift()) {
      const ownership = this.users.get(user)
      const session = this.sessions.get(sid)
      if (this.#stop.signal.aborted || session === undefined || session.state === 'dead') break
      if (ownership?.owner !== sid || ownership.workingMs !== null) continue
      if (await this.#answers(session.address, user)) ownership.workingMs = performance.now()
      else {
        asking.queue.push(user)
        await sleep(ASK_AGAIN_MS)
      }
    }
    asking.running -= 1
  }

  async #answers(address: string, user: string): Promise<boolean> {
    try {
      const reply = await this.#nc.request(atStatusSubject(address), encodeUser(user), { timeout: ANSWER_MS })
      return (reply.json<{ accounts: unknown[] | null }>().accounts ?? []).length > 0
    } catch {
      // A dead owner does not answer, one that stops no longer listens.
      return false
    }
  }
}
