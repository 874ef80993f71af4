/**
 * A fleet for the benchmark: nats-server with nats.conf, the simulator, instances as processes, and users with one small
 * mailbox each. It starts and connects; what is measured stands in story.ts.
 */
import PQueue from 'p-queue'
import type { NatsConnection } from '#shared/nats.ts'
import type { ProviderName } from '#shared/subjects.ts'
import { eventsStored } from '../../mail/acceptance/support.ts'
import { FleetWatch } from '../../support/fleet-watch.ts'
import type { InstanceProcess } from '../../support/instance.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'

export const SILENCE_MS = 6_000
const CONNECTS_AT_ONCE = 8
const CONNECTED_DEADLINE_MS = 120_000

export type FleetOptions = { syncMs: number; env?: Record<string, string> }

export class Fleet implements AsyncDisposable {
  readonly box: Sandbox
  readonly ops: NatsConnection
  readonly users: string[] = []
  readonly instances = new Map<string, InstanceProcess>()
  readonly syncMs: number
  #watch: FleetWatch | null = null
  #sent = 0
  readonly #nc: NatsConnection

  private constructor(box: Sandbox, ops: NatsConnection, nc: NatsConnection, syncMs: number) {
    this.box = box
    this.syncMs = syncMs
    this.ops = ops
    this.#nc = nc
  }

  static async start(names: readonly string[], { syncMs, env = {} }: FleetOptions): Promise<Fleet> {
    const box = await sandbox({
      steady: true,
      env: { MAIL_SYNC_INTERVAL_MS: String(syncMs), MAIL_LEASE_SILENCE_MS: String(SILENCE_MS), ...env },
    })
    try {
      const fleet = new Fleet(box, await box.connection('ops'), await box.connection('service'), syncMs)
      for (const name of names) await fleet.spawn(name)
      fleet.#watch = await FleetWatch.start(fleet.ops)
      return fleet
    } catch (error) {
      await box[Symbol.asyncDispose]()
      throw error
    }
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#watch?.[Symbol.asyncDispose]()
    await this.box[Symbol.asyncDispose]()
  }

  get watch(): FleetWatch {
    if (this.#watch === null) throw new Error('the fleet was not started')
    return this.#watch
  }
  instance(name: string): InstanceProcess {
    const found = this.instances.get(name)
    if (found === undefined) throw new Error(`no instance ${name}`)
    return found
  }
  /** Starts the instance, or starts it again on the same data. */
  async spawn(name: string): Promise<void> {
    this.instances.set(name, await this.box.spawn(name))
  }

  /** Connects users, every fourth with Outlook, until there are `n`, and waits until all their mail is on the stream. */
  async connectUpTo(n: number): Promise<void> {
    const queue = new PQueue({ concurrency: CONNECTS_AT_ONCE })
    const failed: unknown[] = []
    while (this.users.length < n) {
      const i = this.users.length
      const user = `user${i}`
      const provider = providerOf(i)
      this.users.push(user)
      const connecting = queue.add(async () => {
        const spec = { n: 1 + (i % 3), folders: [], mix: NO_MIX }
        await this.box.connect(this.#nc, user, provider, spec, 'primary', { patient: true })
        this.#sent += this.box.sim.truth(this.box.simUser(user), provider).must.length
      })
      connecting.catch((error) => failed.push(error))
      await queue.onSizeLessThan(CONNECTS_AT_ONCE)
    }
    await queue.onIdle()
    if (failed.length > 0) throw new AggregateError(failed, `${failed.length} users could not be connected`)
    await until('all mail is on the stream', async () => (await eventsStored(this.ops)) >= this.#sent, {
      timeoutMs: CONNECTED_DEADLINE_MS,
      everyMs: 250,
    })
    await this.watch.settled(this.users, () => true, CONNECTED_DEADLINE_MS)
  }

  /** One new mail for every user; resolves with the users whose mail is not on the stream when the time is over. */
  async deliverToAll(timeoutMs: number): Promise<number> {
    for (const [i, user] of this.users.entries())
      this.box.sim.mutate({ type: 'deliver', user: this.box.simUser(user), provider: providerOf(i) })
    this.#sent += this.users.length
    const all = async (): Promise<boolean> => (await eventsStored(this.ops)) >= this.#sent
    await until('the new mail is on the stream', all, { timeoutMs, everyMs: 250 }).catch(() => undefined)
    return Math.max(0, this.#sent - (await eventsStored(this.ops)))
  }
}

/** Mails that are all events: the benchmark counts them. */
const NO_MIX = { sent: 0, draft: 0, spam: 0, trash: 0, chat: 0 }
const providerOf = (i: number): ProviderName => (i % 4 === 3 ? 'microsoft' : 'google')
