/** What follows from NATS coming back, and from buckets that are not what they were. */
import type { Broker } from './broker.ts'
import type { Engine } from './engine.ts'
import type { Late } from './late.ts'
import type { Base } from './ownership.ts'

type Reactions = Parameters<Broker['watch']>[0]

export function watchNats(
  { broker, ...base }: Base,
  engine: Pick<Late<Engine>, 'now'>,
  stop: AbortSignal,
): Promise<void> {
  const { accounts, leases, mirror, background, log } = base
  const on: Reactions = {
    connected: () => {
      engine.now?.relay.recheck()
      // A watch may not have survived the server, and does not say so.
      accounts.replica.renew()
      leases.replica.renew()
      background.run(
        mirror.restore(stop).catch((error) => log.warn({ err: error }, 'accounts could not be checked yet')),
      )
    },
    noticed: (name, renewal) => {
      log.error({ bucket: name, renewal }, 'a bucket is not what it was')
      const { era } = leases
      return async () => {
        if (name === 'leases') await (renewal === 'lost' ? leases.replica.clear() : leases.wentBackwards(era))
        if (name !== 'accounts') return
        accounts.replica.clear()
        await mirror.restore(stop)
      }
    },
  }
  return broker.watch(on, stop)
}
