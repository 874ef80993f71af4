/** What the users' databases are asked to do, counted where it is done: an idle poll opens and writes none. */
import type { Telemetry } from '../base/telemetry.ts'
import type { UserStore } from '../store/user-store.ts'

export function countDatabaseWork(store: UserStore, telemetry: Telemetry): void {
  store.onOpened = () => telemetry.databaseOpened()
  store.onCommitted = () => telemetry.databaseCommitted()
}
