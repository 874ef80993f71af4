/** The three buckets together, and what happens when one of them is not the one it was: it is opened anew. */
import type { NatsConnection } from '#shared/nats.ts'
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE } from '#shared/subjects.ts'
import { Bucket } from './bucket.ts'

export type BucketName = 'accounts' | 'leases' | 'state'
type Name = BucketName
/** `lost`: it is another bucket, made anew. `went backwards`: it is the same one, without its latest revisions. */
export type Renewal = 'lost' | 'went backwards'
const NAMES: Record<Name, string> = { accounts: BUCKET_ACCOUNTS, leases: BUCKET_LEASES, state: BUCKET_STATE }
const ORDER: readonly Name[] = ['leases', 'accounts', 'state']

export class Buckets {
  readonly #nc: NatsConnection
  readonly #open: Record<Name, Bucket>
  /** Opened anew, and not yet acted upon. */
  readonly #renewed = new Map<Name, Renewal>()

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
   * Looks whether each bucket is still the one that was opened, with all that was seen of it, and opens those anew that
   * are not. `onRenewed` hears of each, again with each call until it has succeeded for it: whatever fails on the way,
   * nobody keeps what a lost bucket said.
   */
  async verify(onRenewed: (name: Name, renewal: Renewal) => Promise<void>): Promise<void> {
    for (const name of ORDER) await this.#look(name)
    for (const [name, renewal] of [...this.#renewed]) {
      await onRenewed(name, renewal)
      this.#renewed.delete(name)
    }
  }

  async #look(name: Name): Promise<void> {
    const before = this.#open[name]
    const seen = before.highest
    if (await before.isWhole()) return
    const now = await Bucket.open(this.#nc, NAMES[name])
    const isSame = now.createdMs === before.createdMs
    // A server that is just starting may not know its streams yet.
    if (isSame && now.highest >= seen) return
    this.#open[name] = now
    this.#renewed.set(name, isSame ? 'went backwards' : 'lost')
  }
}
