/** What a server refuses one of its clients. */
import { setImmediate } from 'node:timers/promises'
import { type NatsConnection, PermissionViolationError } from '#shared/nats.ts'

/** What is refused while `attempts` publishes and subscribes: `publish x`, `subscription x`, `subscription x queue`. */
export async function refusals(nc: NatsConnection, attempts: () => void): Promise<Set<string>> {
  const seen = new Set<string>()
  const follow = async (): Promise<void> => {
    for await (const status of nc.status())
      if (status.type === 'error' && status.error instanceof PermissionViolationError)
        seen.add([status.error.operation, status.error.subject, status.error.queue].filter(Boolean).join(' '))
  }
  void follow()
  attempts()
  // The server answers in order: what it refused stands before the answer to this.
  await nc.flush()
  await setImmediate()
  return seen
}
