/**
 * What is known at the moment: the status of each account as the bridge tells it, the events, and the new mails that
 * wait for theirs. It asks and hands the picture to the view; it waits for nothing.
 */
import type { AccountStatus } from '#shared/contract.ts'
import type { Events } from './events.ts'
import type { System } from './system.ts'
import type { Arrival, Row, View } from './view.ts'
import type { NewMail, Person, World } from './world.ts'

const STATUS_EVERY_MS = 250
const ARRIVALS_KEPT = 20

export class Board {
  /** True while there is no instance. */
  down = false
  /** Whose instance is gone, while no other one works for them. */
  orphans = new Set<Person>()
  foot = ''
  readonly #system: System
  readonly #world: World
  readonly #people: readonly Person[]
  readonly #events: Events
  readonly #view: View
  readonly #accounts = new Map<Person, AccountStatus>()
  #waiting: NewMail[] = []
  readonly #arrivals: Arrival[] = []
  #nextStatusMs = 0

  constructor(system: System, world: World, people: readonly Person[], events: Events, view: View) {
    this.#system = system
    this.#world = world
    this.#people = people
    this.#events = events
    this.#view = view
  }
  get allLive(): boolean {
    return this.#people.every((person) => {
      const account = this.#accounts.get(person)
      return account?.state === 'live' && account.live && account.outbox.pending === 0
    })
  }
  /** New mails whose event has not come yet. */
  get waiting(): number {
    return this.#waiting.length
  }
  sent(mail: NewMail | null): void {
    if (mail !== null) this.#waiting.push(mail)
  }
  /** Looks at everything once, and shows it. @throws Error when the events can no longer be read. */
  async look(): Promise<void> {
    this.#events.check()
    this.#matchArrivals()
    if (!this.down && Date.now() >= this.#nextStatusMs) {
      this.#nextStatusMs = Date.now() + STATUS_EVERY_MS
      await Promise.all(this.#people.map((person) => this.#askStatus(person)))
    }
    this.show()
  }
  show(): void {
    const { nats, bridgeUrl } = this.#system
    this.#view.picture({
      head: `${this.#instances()} · bridge ${bridgeUrl} · ${nats.url}`,
      rows: this.#people.map((person) => this.#row(person)),
      total: this.#events.total,
      latest: this.#events.latest,
      arrivals: this.#arrivals,
      foot: this.foot,
    })
  }
  #instances(): string {
    const { isFleet, instance, instances } = this.#system
    if (!isFleet) return `instance pid ${this.down ? '-' : instance.pid}`
    return instances.map(({ name, pid }) => `${name} pid ${pid}`).join(', ')
  }
  #row(person: Person): Row {
    const account = this.#accounts.get(person) ?? null
    const down = this.down ? 'no instance' : this.orphans.has(person) ? 'no owner' : null
    return { person, account, owner: this.#system.isFleet ? (account?.instance ?? null) : null, down }
  }
  async #askStatus(person: Person): Promise<void> {
    const [account] = (await this.#world.status(person)).accounts
    if (account === undefined) return
    const before = this.#accounts.get(person)
    if (account.live || before === undefined) this.#accounts.set(person, account)
    // Before an owner has taken the user over, the answer knows less than the last one of an owner did.
    else {
      const progress = { ...before.progress, rate_per_s: null, eta_s: null }
      this.#accounts.set(person, { ...before, state: account.state, live: false, progress })
    }
  }
  #matchArrivals(): void {
    this.#waiting = this.#waiting.filter((mail) => {
      const atMs = this.#events.seenAtMs(mail.person.upper, mail.id)
      if (atMs === undefined) return true
      this.#arrivals.unshift({ mail, atMs })
      if (this.#arrivals.length > ARRIVALS_KEPT) this.#arrivals.pop()
      this.#view.arrived({ mail, atMs })
      return false
    })
  }
}
