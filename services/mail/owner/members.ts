/**
 * The live instances by name, and who of them should own whom. Each user is hashed once for each name that comes, however
 * often it is asked about: there may be many users, and every change of every lease asks.
 */
import type { SeenSession } from '../kv/lease-log.ts'
import { bestOf, membersOf, type Score } from './share.ts'

export class Members {
  #sids = new Map<string, string>()
  /** The best of the present members for each user; as many as there are users. */
  readonly #best = new Map<string, Score>()

  /** Takes the sessions as they are now: whether names have come that were not there before, else whether any have gone. */
  update(sessions: Iterable<SeenSession>): 'come' | 'gone' | 'same' {
    const before = this.#sids
    this.#sids = membersOf(sessions)
    const come = [...this.#sids.keys()].filter((name) => !before.has(name))
    const gone = [...before.keys()].some((name) => !this.#sids.has(name))
    for (const [userId, best] of this.#best) {
      if (gone && !this.#sids.has(best.name)) this.#best.delete(userId)
      else if (come.length > 0) this.#best.set(userId, bestOf(userId, come, best) ?? best)
    }
    return come.length > 0 ? 'come' : gone ? 'gone' : 'same'
  }

  /** The session under which the user should be owned, and the name of its instance; null when nobody lives. */
  desired(userId: string): { sid: string; name: string } | null {
    const best = this.#best.get(userId) ?? bestOf(userId, this.#sids.keys())
    if (best === null) return null
    this.#best.set(userId, best)
    const sid = this.#sids.get(best.name)
    return sid === undefined ? null : { sid, name: best.name }
  }
}
