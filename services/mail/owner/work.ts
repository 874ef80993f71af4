/** What works for one user, made when the user is started: most users rest, and hold nothing of it. */
import { Settlements } from './settlements.ts'
import type { TenureDeps } from './tenure-deps.ts'
import { UserWorkers, type UserWorkersHost } from './user-workers.ts'

export type Work = {
  /** Ends all of it at once. */
  lost: AbortController
  workers: UserWorkers
  settlements: Settlements
  stopCheckpoints: AbortController
  checkpoints: Promise<void>
}

export function equip(deps: TenureDeps, host: UserWorkersHost): Work {
  const lost = new AbortController()
  return {
    lost,
    workers: new UserWorkers(host, lost.signal),
    settlements: new Settlements(deps, lost.signal),
    stopCheckpoints: new AbortController(),
    checkpoints: Promise.resolve(),
  }
}
