/** Writes that a store refused because their term was over, counted where they are refused; the relay counts its own. */
import type { Telemetry } from '../base/telemetry.ts'
import type { Checkpoints } from '../kv/checkpoint.ts'
import type { UserStore } from '../store/user-store.ts'

export type RefusalParts = { store: UserStore; checkpoints: Checkpoints; telemetry: Telemetry }

export function countRefusals({ store, checkpoints, telemetry }: RefusalParts): void {
  store.onRefused = () => telemetry.zombieRefused('sqlite')
  checkpoints.onRefused = () => telemetry.zombieRefused('state')
}
