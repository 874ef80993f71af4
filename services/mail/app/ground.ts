/**
 * What everything else stands on in its own data directory, opened in this order: auth.db, NATS with stream and buckets, what
 * the instances agree on. It is all that the endpoints need to answer, and loads nothing that only the users' work needs.
 */
import type { Log } from '#shared/log.ts'
import { uuidV7 } from '#shared/uuid.ts'
import type { Config } from '../base/config.ts'
import { loopTurn } from '../base/loop-turn.ts'
import type { Clock } from '../base/time.ts'
import { Accounts } from '../kv/accounts.ts'
import { Checkpoints } from '../kv/checkpoint.ts'
import { Claims } from '../kv/claims.ts'
import { LeaseLog } from '../kv/lease-log.ts'
import { Trail } from '../outbox/trail.ts'
import { AuthStore } from '../store/auth-store.ts'
import type { InstanceLock } from '../store/instance-lock.ts'
import type { UserStore } from '../store/user-store.ts'
import { Background } from './background.ts'
import { openBroker } from './broker.ts'
import { openGrants } from './grants.ts'
import type { Controls } from './relay.ts'

export type AppOptions = {
  config: Config
  log: Log
  clock: Clock
  controls: Controls
}

/** `instance`: its stable name. */
export type GroundOptions = AppOptions & { lock: InstanceLock; instance: string }

export type Ground = Awaited<ReturnType<typeof openGround>>

/** @throws ExitError where only an operator can help, or the reason of `stop` */
export async function openGround(options: GroundOptions, stack: AsyncDisposableStack, stop: AbortSignal) {
  const { config, log, clock, controls, lock, instance } = options
  const auth = stack.use(new AuthStore(config.authDbPath))
  const broker = stack.use(await openBroker(config, instance, clock, log, stop))
  const trail = stack.use(new Trail({ ...broker, clock, log }))
  const accounts = new Accounts(() => broker.buckets.get('accounts'), clock, log)
  const leases = new LeaseLog(() => broker.buckets.get('leases'), clock, log)
  const checkpoints = new Checkpoints(() => broker.buckets.get('state'), {
    keyOf: (userId, name) => accounts.positionsKey(userId, name),
    ...(controls.compareCheckpoints === undefined ? {} : { compare: false }),
  })
  const claims = new Claims(() => broker.buckets.get('state'), accounts, clock)
  // Closed where it is opened in this order: whatever is loaded later stands on what is above, and ends after what is below.
  const engine = stack.use(new AsyncDisposableStack())
  const grants = stack.use(openGrants(config, clock))
  const background = stack.use(new Background())
  background.run(accounts.run(background.signal))
  await accounts.replica.whenFresh(stop)
  return {
    ...options,
    directoryId: lock.directoryId,
    holdsDirectory: () => lock.held,
    /** Where the others ask this process. */
    address: uuidV7(),
    auth,
    broker,
    trail,
    accounts,
    leases,
    checkpoints,
    claims,
    clients: grants.clients,
    background,
    /** For what is opened later. */
    engine,
    /** The users' databases: not needed for a start unless something was left of a user who was erased. */
    store: once(async () => {
      const { UserStore } = await import('../store/user-store.ts')
      const { WalCopies } = await import('../store/wal-copies.ts')
      const trusting = controls.compareEpochs === undefined ? {} : ({ compareEpochs: false } as const)
      const beside = { copies: new WalCopies(log), nextTurn: loopTurn }
      return engine.use(new UserStore({ dataDir: config.dataDir, log, ...beside, ...trusting }))
    }),
  }
}

function once(open: () => Promise<UserStore>): () => Promise<UserStore> {
  let opened: Promise<UserStore> | undefined
  return () => (opened ??= open())
}
