/**
 * The live instances by name, and who of them should own whom. Users are hashed when names come, however often it is asked about
 * them: there may be many users, and every change of every lease asks.
 */
import type { SeenSession } from '../kv/lease-log.ts'
import { bestOf, membersOf, scoreOf } from './share.ts'

export class Members {
  #sids = new Map<string, string>()
  /** The best of the present members for each user, where there are several; as many as there are users. */
  readonly #best = new Map<string, string>()

  /** Takes the sessions as they are now: whether names have come that were not there before, else whether any have gone. */
  update(sessions: Iterable<SeenSession>): 'come' | 'gone' | 'same' {
    const before = this.#sids
    this.#sids = membersOf(sessions)
    const come = [...this.#sids.keys()].filter((name) => !before.has(name))
    const gone = [...before.keys()].some((name) => !this.#sids.has(name))
    for (const [userId, best] of this.#best) {
      if (gone && !this.#sids.has(best)) this.#best.delete(userId)
      else if (come.length > 0) this.#best.set(userId, bestOf(userId, come, scoreOf(userId, best))?.name ?? best)
    }
    return come.length > 0 ? 'come' : gone ? 'gone' : 'same'
  }

  /** The session under which the user should be owned, and the name of its instance; null when nobody lives. */
  desired(userId: string): { sid: string; name: string } | null {
    const [only] = this.#sids.keys()
    const name = this.#sids.size === 1 ? only : (this.#best.get(userId) ?? bestOf(userId, this.#sids.keys())?.name)
    if (name === undefined) return null
    if (this.#sids.size > 1) this.#best.set(userId, name)
    const sid = this.#sids.get(name)
    return sid === undefined ? null : { sid, name }
  }
}
