/** The three buckets together, and what happens when one of them is not the one it was: it is opened anew. */
import { BUCKET_ACCOUNTS, BUCKET_LEASES, BUCKET_STATE } from '#shared/subjects.ts'
import { together } from '../base/together.ts'
import type { Bucket } from './bucket.ts'

export type BucketName = 'accounts' | 'leases' | 'state'
type Name = BucketName
/** Opens the bucket of that name, creating it when absent. */
type Open = (name: string) => Promise<Bucket>
/** `lost`: it is another bucket, made anew. `went backwards`: it is the same one, without its latest revisions. */
export type Renewal = 'lost' | 'went backwards'
/** Called at the moment of noticing, once; answers what is to be done about it. */
export type Noticed = (name: BucketName, renewal: Renewal) => () => Promise<void>
const NAMES: Record<Name, string> = { accounts: BUCKET_ACCOUNTS, leases: BUCKET_LEASES, state: BUCKET_STATE }
const ORDER: readonly Name[] = ['leases', 'accounts', 'state']

export class Buckets {
  readonly #openOne: Open
  readonly #open: Record<Name, Bucket>
  /** What is still to be done about those that were opened anew. */
  readonly #unfinished = new Map<Name, () => Promise<void>>()
  /** Those that had fewer revisions than were seen when they were last looked at. */
  readonly #suspects = new Set<Name>()

  private constructor(openOne: Open, open: Record<Name, Bucket>) {
    this.#openOne = openOne
    this.#open = open
  }

  /** Opens all buckets. @throws what opening one throws: ExitError 78 when it has the wrong settings. */
  static async open(openOne: Open): Promise<Buckets> {
    const [accounts, leases, state] = await together(
      openOne(NAMES.accounts),
      openOne(NAMES.leases),
      openOne(NAMES.state),
    )
    return new Buckets(openOne, { accounts, leases, state })
  }

  get(name: Name): Bucket {
    return this.#open[name]
  }

  /**
   * Looks whether each bucket is still the one that was opened, with all that was seen of it, and opens those anew that
   * are not. `noticed` hears of each; what it answers is done with each call until it has succeeded: whatever fails on
   * the way, nobody keeps what a lost bucket said.
   *
   * Of a cluster, a leader that was paused and replaced meanwhile still answers for a moment, and knows nothing of what
   * came since. So it takes two looks to tell that a bucket went backwards.
   * @throws Error when one of them has to be looked at once more
   */
  async verify(noticed: Noticed): Promise<void> {
    for (const name of ORDER) await this.#look(name, noticed)
    for (const [name, act] of [...this.#unfinished]) {
      await act()
      this.#unfinished.delete(name)
    }
    if (this.#suspects.size === 0) return
    const names = [...this.#suspects].map((name) => NAMES[name]).join(', ')
    throw new Error(`${names}: fewer revisions than were seen; to be looked at once more`)
  }

  async #look(name: Name, noticed: Noticed): Promise<void> {
    const before = this.#open[name]
    const seen = before.highest
    const isSuspect = this.#suspects.delete(name)
    if (await before.isWhole()) return
    const now = await this.#openOne(NAMES[name])
    const isSame = now.createdMs === before.createdMs
    // A server that is just starting may not know its streams yet, or somebody else has noticed it meanwhile.
    if (isSame && now.highest >= Math.min(seen, before.highest)) return
    if (isSame && !isSuspect) {
      this.#suspects.add(name)
      return
    }
    this.#open[name] = now
    this.#unfinished.set(name, noticed(name, isSame ? 'went backwards' : 'lost'))
  }
}
