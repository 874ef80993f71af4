/**
 * Instances that share a few users, seen from outside: by leases, by the deadlines in their logs, and by every write on
 * the wire. Stories about owners that go, pause and come back stand on it; it tells none itself.
 */
import { jetstreamManager } from '@nats-io/jetstream'
import { pino } from 'pino'
import type { NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, EVENT_SUBJECT_ALL, eventSubject } from '#shared/subjects.ts'
import type { Controls } from '../../../services/mail/app/relay.ts'
import { desiredOwner } from '../../../services/mail/owner/share.ts'
import type { InstanceProcess } from '../../support/instance.ts'
import type { Sandbox } from '../../support/sandbox.ts'
import { type Overlap, Terms } from '../../support/terms.ts'
import { answered, until } from '../../support/until.ts'
import { Wire } from '../../support/wire.ts'
import { eventsStored, leaseOwner, settled } from './support.ts'

/** A user of `owner` while `a` and `b` live, and of `later` when `c` joins. */
const userOf = (owner: string, later: string): string =>
  Array.from({ length: 200 }, (_, i) => `user${i}`).find(
    (user) => desiredOwner(user, ['a', 'b']) === owner && desiredOwner(user, ['a', 'b', 'c']) === later,
  ) ?? ''
export const USERS = [userOf('a', 'a'), userOf('b', 'b'), userOf('a', 'c'), userOf('b', 'c')] as const
const MAILS = 4
/** Events of one `deliver()`. */
export const BURST = MAILS * USERS.length
const DEADLINE = { timeoutMs: 60_000, everyMs: 50 }

/** What the fleet needs of its instances. */
export const fleetEnv = (silenceMs: number): Record<string, string> => ({
  MAIL_LEASE_SILENCE_MS: String(silenceMs),
  MAIL_DEDUPE_WINDOW_MS: '1000',
  MAIL_LOG_LEVEL: 'debug',
})

export type Figures = { overlaps: Overlap[]; wire: Wire; line: string }

export class Fleet {
  readonly box: Sandbox
  readonly nc: NatsConnection
  readonly ops: NatsConnection
  readonly wire: Wire
  /** What the instances said of sessions that were declared dead or lost: why an owner changed. */
  readonly ends: string[] = []
  readonly #terms = new Terms()

  private constructor(box: Sandbox, nc: NatsConnection, ops: NatsConnection, wire: Wire) {
    this.box = box
    this.nc = nc
    this.ops = ops
    this.wire = wire
  }
  static async of(box: Sandbox): Promise<Fleet> {
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    return new Fleet(box, nc, ops, await Wire.start(ops))
  }

  async spawn(name: string, env: Record<string, string> = {}): Promise<InstanceProcess> {
    const instance = await this.box.spawn(name, env)
    instance.follow((line) => {
      this.#terms.read(`${name} ${instance.pid}`, line)
      if (line.includes('declared dead')) this.ends.push(`${name}: ${line}`)
    })
    return instance
  }
  /** In this process, with protections switched off. */
  async start(name: string, env: Record<string, string>, controls: Controls): Promise<void> {
    const log = pino({ level: 'debug' }, { write: (line) => this.#terms.read(name, line) })
    await this.box.start(name, { env, controls, log })
  }

  /** A mailbox of `n` mails for each user; waits until each belongs to one of the instances. */
  async connectAll(n: number, names: readonly string[]): Promise<void> {
    for (const [i, user] of USERS.entries()) await this.box.connect(this.nc, user, providerOf(i), { n })
    await this.ownedBy(names)
  }
  /** New mail for everybody. */
  deliver(): void {
    for (let mail = 0; mail < MAILS; mail++) for (const i of USERS.keys()) this.deliverTo(i)
  }
  deliverTo(index: number): void {
    const user = USERS[index]
    if (user !== undefined)
      this.box.sim.mutate({ type: 'deliver', user: this.box.simUser(user), provider: providerOf(index) })
  }
  async owners(): Promise<Record<string, string | null>> {
    const owners: Record<string, string | null> = {}
    for (const user of USERS) owners[user] = await leaseOwner(this.ops, user)
    return owners
  }
  /** Waits until each user belongs to the one of these instances that it should belong to. */
  async ownedBy(names: readonly string[]): Promise<void> {
    for (const user of USERS) {
      const wanted = desiredOwner(user, names)
      await until(`${wanted} owns ${user}`, async () => (await leaseOwner(this.ops, user)) === wanted, DEADLINE)
    }
  }
  /** New mail for everybody; waits until `count` events more than before are on the stream. */
  async deliverUntil(count: number): Promise<void> {
    // Counted first: where NATS answers late, all of them may be there when it does.
    const before = await eventsStored(this.ops)
    this.deliver()
    await until(`${count} more events`, async () => (await eventsStored(this.ops)) >= before + count, DEADLINE)
  }
  /** New mail for everybody; waits until an event of each user has followed. */
  async goesOn(): Promise<void> {
    const before = await this.#eventCounts()
    this.deliver()
    const followed = async (): Promise<boolean> => {
      const now = await this.#eventCounts()
      return USERS.every((user) => (now[eventSubject(user)] ?? 0) > (before[eventSubject(user)] ?? 0))
    }
    await until('an event of each user', followed, DEADLINE)
  }
  async #eventCounts(): Promise<Record<string, number>> {
    const { state } = await answered(async () => {
      const jsm = await jetstreamManager(this.ops)
      return await jsm.streams.info(EVENT_STREAM, { subjects_filter: EVENT_SUBJECT_ALL })
    })
    return state.subjects ?? {}
  }

  /** When everything has come to rest after a last burst. @throws AssertionError when a mail is lost or twice */
  async figures(about: string): Promise<Figures> {
    this.deliver()
    await settled(this.box, this.nc, USERS, about)
    const { wire } = this
    const overlaps = this.#terms.overlaps()
    const refused = `refused ${wire.refused('state')} checkpoints and ${wire.refused('stream')} events`
    const late = `${wire.late.length} late writes of past owners: ${refused}, stored ${wire.landed.length}`
    const line = `${about}: 0 lost, 0 twice; ${this.#terms.count} terms, ${overlaps.length} overlaps; ${late}`
    return { overlaps, wire, line }
  }
}

const providerOf = (index: number) => (index % 2 === 0 ? 'google' : 'microsoft')
