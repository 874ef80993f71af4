/**
 * What the users do meanwhile: mailboxes are connected, mail arrives, is moved, marked and deleted; the provider fails now
 * and then. At the end it says who is not served.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pass } from 'node:timers/promises'
import { requestInspection } from '#shared/control-client.ts'
import type { NatsConnection } from '#shared/nats.ts'
import type { ProviderName } from '#shared/subjects.ts'
import type { Fault, Mutation } from '../simulator/types.ts'
import type { Ledger } from '../support/ledger.ts'
import type { Sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'
import type { Dice } from './blows.ts'

/** One more of each in so many requests. */
const FAULT_EVERY = 700
const FAULTS: readonly Fault[] = [
  { type: '429', retryAfter: 1 },
  { type: '503' },
  { type: '500' },
  { type: '502html' },
  { type: 'reset', when: 'midBody' },
  { type: 'truncate', mode: 'chunked' },
  { type: 'delay', ms: 400 },
]
const STEP_MS = 40
/** With a kill every two seconds it is long before somebody has the time. */
const CONNECT_MS = 600_000
/** Of FULL most mail is read after the blows. */
const SERVED_MS = 900_000
const ASK_MS = 250

type Mailbox = { user: string; simUser: string; provider: ProviderName; mine: string[] }
export type Stuck = { user: string; why: string }

export class Work {
  readonly #box: Sandbox
  readonly #nc: NatsConnection
  readonly #dice: Dice
  readonly #mailboxes: Mailbox[] = []
  /** What befell each mail that came meanwhile, and when. */
  readonly #stories = new Map<string, string[]>()

  constructor(box: Sandbox, nc: NatsConnection, dice: Dice) {
    this.#box = box
    this.#nc = nc
    this.#dice = dice
    for (const fault of FAULTS) box.sim.faults.add({ match: { every: FAULT_EVERY }, fault })
  }

  get users(): string[] {
    return this.#mailboxes.map(({ user }) => user)
  }

  /** Two of three with Gmail. */
  async connect(mails: number): Promise<void> {
    const i = this.#mailboxes.length
    const user = `user${i}`
    const provider = i % 3 === 2 ? 'microsoft' : 'google'
    this.#mailboxes.push({ user, simUser: this.#box.simUser(user), provider, mine: [] })
    await until(
      `${user} is connected`,
      async () => {
        await this.#box.connect(this.#nc, user, provider, { n: mails })
        return true
      },
      { timeoutMs: CONNECT_MS, everyMs: ASK_MS },
    )
  }

  /** Mail comes and is dealt with until the signal aborts. */
  async live(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const mailbox = this.#mailboxes[this.#dice(0, this.#mailboxes.length - 1)]
      if (mailbox !== undefined) this.#step(mailbox)
      await pass(STEP_MS)
    }
  }

  #step(mailbox: Mailbox): void {
    const { simUser: user, provider, mine } = mailbox
    const deal = this.#dice(0, 99)
    const id = deal < 85 ? undefined : mine[this.#dice(0, mine.length - 1)]
    const { sim } = this.#box
    const does = (mutation: Mutation): string => {
      const about = sim.mutate(mutation)
      const story = this.#stories.get(id ?? about) ?? []
      this.#stories.set(id ?? about, [...story, `${new Date().toISOString()} ${mutation.type}`])
      return about
    }
    if (id === undefined) mine.push(does({ type: 'deliver', user, provider }))
    else if (deal < 90) does({ type: 'markRead', user, provider, id })
    else if (deal < 95 && provider === 'microsoft') does({ type: 'move', user, provider, id, to: 'archive' })
    else if (deal < 98 && provider === 'google') does({ type: 'label', user, provider, id, add: ['STARRED'] })
    else if (deal >= 98) {
      does({ type: 'delete', user, provider, id })
      mine.splice(mine.indexOf(id), 1)
    }
  }

  /** Whose a mail is, what befell it, and what its owner knows of it. */
  async explain(id: string): Promise<string> {
    const { user } =
      this.#mailboxes.find(({ simUser, provider }) => this.#box.sim.truth(simUser, provider).must.includes(id)) ?? {}
    if (user === undefined) return `${id}: nobody's`
    const call = { asUser: user, requestId: randomUUID(), body: { message_id: id } }
    const why = await requestInspection(this.#nc, 'why', call).catch((error: unknown) => String(error))
    const story = this.#stories.get(id)?.join(', ') ?? 'there when the mailbox was connected'
    return `${id} of ${user}: ${story}; ${JSON.stringify(why)}`
  }

  /** One more mail for everybody; answers who has not got all of their mail when the time is over. */
  async served(ops: NatsConnection): Promise<{ ledger: Ledger; stuck: Stuck[] }> {
    this.#box.sim.faults.clear()
    for (const { simUser, provider } of this.#mailboxes)
      this.#box.sim.mutate({ type: 'deliver', user: simUser, provider })
    const endsMs = performance.now() + SERVED_MS
    for (;;) {
      const stuck = await this.#notLive()
      const isOver = performance.now() > endsMs
      if (stuck.length === 0 || isOver) {
        // Each event is asked for by itself.
        const ledger = await this.#box.ledger(ops)
        if (ledger.lost.length === 0 || isOver) return { ledger, stuck }
      }
      await pass(1_000)
    }
  }

  async #notLive(): Promise<Stuck[]> {
    const found: Stuck[] = []
    for (const { user } of this.#mailboxes) {
      const why = await this.#box.status(this.#nc, user).then(
        ({ accounts }) =>
          accounts.length > 0 &&
          accounts.every(({ state, outbox, live }) => state === 'live' && live && outbox.pending === 0)
            ? null
            : JSON.stringify(accounts),
        (error: unknown) => String(error),
      )
      if (why !== null) found.push({ user, why })
    }
    return found
  }
}
