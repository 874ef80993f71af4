/** The three buckets together, and what happens when one of them is not the one it was: it is opened anew. */
import type { NatsConnection } from '#shared/nats.ts'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE } from '#shared/subjects.ts'
import { Bucket } from './bucket.ts'

type Name = 'accounts' | 'leases' | 'state'
const NAMES: Record<Name, string> = { accounts: BUCKET_ACCOUNTS, leases: BUCKET_LEASES, state: BUCKET_STATE }
const ORDER: readonly Name[] = ['accounts', 'leases', 'state']

export class Buckets {
  readonly #nc: NatsConnection
  readonly #open: Record<Name, Bucket>
  /** Opened anew, and not yet acted upon. */
  readonly #renewed = new Set<Name>()

  private constructor(nc: NatsConnection, open: Record<Name, Bucket>) {
    this.#nc = nc
    this.#open = open
  }

  /** Opens all buckets, creating those that are absent. @throws ExitError 78 when one has the wrong settings. */
  static async open(nc: NatsConnection): Promise<Buckets> {
    return new Buckets(nc, {
      accounts: await Bucket.open(nc, NAMES.accounts),
      leases: await Bucket.open(nc, NAMES.leases),
      state: await Bucket.open(nc, NAMES.state),
    })
  }

  get(name: Name): Bucket {
    return this.#open[name]
  }

  /**
   * Looks whether each bucket is still the one that was opened, and opens those anew that are not. `onRenewed` hears of
   * them, again with each call until it has succeeded: whatever fails on the way, nobody keeps what a lost bucket said.
   */
  async verify(onRenewed: (names: Name[]) => Promise<void>): Promise<void> {
    for (const name of ORDER) {
      if ((await this.#open[name].currentCreatedMs()) === this.#open[name].createdMs) continue
      this.#open[name] = await Bucket.open(this.#nc, NAMES[name])
      this.#renewed.add(name)
    }
    if (this.#renewed.size === 0) return
    await onRenewed([...this.#renewed])
    this.#renewed.clear()
  }
}
