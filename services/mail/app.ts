/**
 * The composition root, read from top to bottom: it builds the parts, connects them, runs them until the signal aborts,
 * and closes them in reverse. It decides nothing itself.
 */
import { v7 } from 'uuid'
import { createJwtVerifier } from '#shared/jwt.ts'
import { type App, aborted } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import { flatMetrics, serveMetrics } from '#shared/metrics.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { openBroker } from './app/broker.ts'
import { mirrorCredentials } from './app/mirror.ts'
import { controlPorts } from './app/ports.ts'
import { createProviders } from './app/providers.ts'
import { type Controls, createRelay } from './app/relay.ts'
import { createWorker } from './app/workers.ts'
import { type Config, readConfig } from './base/config.ts'
import { createTelemetry } from './base/telemetry.ts'
import { type Clock, systemClock } from './base/time.ts'
import { connect } from './control/connect.ts'
import { disconnect } from './control/disconnect.ts'
import { ControlService } from './control/service.ts'
import { ownerReply, status } from './control/status.ts'
import { Accounts } from './kv/accounts.ts'
import { Checkpoints } from './kv/checkpoint.ts'
import { Claims } from './kv/claims.ts'
import { LeaseLog } from './kv/lease-log.ts'
import { leaseTimes } from './owner/lease-times.ts'
import { Supervisor } from './owner/supervisor.ts'
import { AuthStore } from './store/auth-store.ts'
import { lockDataDirectory } from './store/instance-lock.ts'
import { UserStore } from './store/user-store.ts'
import { openCredential } from './token/credential.ts'
import { loadKeys } from './token/keys.ts'
import { revokeGrant } from './token/refresh.ts'
import { createSeal, kidsOf } from './token/seal.ts'
import { TokenProvider } from './token/tokens.ts'

export type AppOptions = {
  config: Config
  log: Log
  clock?: Clock
  controls?: Controls
  ready?: (info: { instance: string }) => void
}

/** The service as the environment describes it. @throws ExitError 78 with one line per fault. */
export const appFromEnvironment =
  (log: Log): App =>
  (signal) => {
    const config = readConfig()
    log.level = config.logLevel
    return createApp({ config, log })(signal)
  }

/** One instance of the mail service. Resolves after a clean stop; rejects with ExitError where only an operator can help. */
export function createApp({ config, log, clock = systemClock, controls = {}, ready }: AppOptions): App {
  return async (signal) => {
    await using stack = new AsyncDisposableStack()
    const fatal = new AbortController()
    const stop = AbortSignal.any([signal, fatal.signal])
    const lock = stack.use(lockDataDirectory(config.dataDir))
    const auth = stack.use(new AuthStore(config.authDbPath))
    const instance = config.instanceName(lock.directoryId)
    const broker = stack.use(await openBroker(config, instance, clock, log, stop))

    const accounts = new Accounts(() => broker.buckets.get('accounts'), clock, log)
    const leases = new LeaseLog(() => broker.buckets.get('leases'), clock, log)
    const checkpoints = new Checkpoints(() => broker.buckets.get('state'))
    const claims = new Claims(() => broker.buckets.get('state'), accounts, clock)
    const store = stack.use(new UserStore({ dataDir: config.dataDir, log }))
    const telemetry = createTelemetry(log, () => levels(supervisor))
    const providers = stack.use(createProviders(config, clock))

    const background = stack.use(new Background(stop))
    background.run(accounts.run(background.signal))
    await accounts.replica.whenFresh(stop)
    const sealed = [...accounts.replica.entries.values()].flatMap(({ record }) =>
      [record.credential, record.revoke].filter((value) => value !== null),
    )
    const keys = await loadKeys(
      {
        ...config.keys,
        dataDir: config.dataDir,
        kidsInUse: [...new Set([...auth.allKids(kidsOf), ...kidsOf(sealed)])],
        signal: stop,
      },
      log,
    )
    const seal = createSeal(keys)
    const tokens = stack.use(
      new TokenProvider({
        auth,
        records: {
          read: (account) => accounts.read(account),
          write: (account, record, revision) => accounts.write(account, record, revision),
        },
        seal,
        clock,
        log,
        bucketCreatedMs: () => broker.buckets.get('accounts').createdMs,
        clients: providers.clients,
        onRefresh: telemetry.tokenRefreshed,
      }),
    )
    const relay = createRelay({
      broker,
      store,
      clock,
      log,
      telemetry,
      config,
      controls,
      learned: (userId) => supervisor.tenures.get(userId)?.learned(),
    })
    const supervisor = new Supervisor({
      accounts,
      leases,
      times: leaseTimes(config.silenceMs),
      identity: { name: instance, directory: lock.directoryId, address: v7(), version: packageJson.version },
      clock,
      log,
      tenure: {
        accounts,
        checkpoints,
        store,
        relay,
        clock,
        log,
        telemetry,
        instance,
        intervalMs: config.syncIntervalMs,
        firstLane: (provider) => providers.byName[provider].firstLane,
        polled: (account, lane) => providers.byName[account.provider].polled(lane),
        worker: (entry, epoch, hooks) =>
          createWorker(
            { config, providers, tokens, store, accounts, claims, clock, log, telemetry },
            entry,
            epoch,
            hooks,
          ),
        revoke: async (account, credential, abort) => {
          const client = providers.clients[account.provider]
          if (client !== undefined)
            await revokeGrant(client, (await openCredential(seal, account, credential)).refreshToken, abort)
        },
        ...(controls.earlyCheckpoint === undefined ? {} : { earlyCheckpoint: true }),
      },
    })

    for (const missing of config.missingClients) log.warn(missing)
    const mirror = mirrorCredentials({ accounts, tokens, auth, log })
    await mirror.restore(stop)
    background.run(mirror.run(background.signal))
    background.run(leases.run(background.signal))
    const ports = controlPorts({ providers, seal, supervisor, checkpoints })
    const service = await ControlService.start({
      nc: broker.nc,
      jwt: createJwtVerifier({ ...config.jwt }),
      handlers: {
        connect: (userId, request) => connect(userId, request, { accounts, claims, ports, clock }, background.signal),
        status: (userId) =>
          status(userId, { nc: broker.nc, accounts, ports, log, clock, intervalMs: config.syncIntervalMs }),
        disconnect: (userId, request) => disconnect(userId, request, { accounts, clock }, background.signal),
        ownerStatus: async (userId) => ownerReply(userId, ports),
      },
      log,
      version: packageJson.version,
      instance,
      address: supervisor.session.address,
      metadata: {
        instance,
        node: process.versions.node,
        data: lock.directoryId,
        trusted: broker.trusted ? 'yes' : 'no',
        docs: 'README.md',
      },
      trusted: broker.trusted,
      metrics: () => flatMetrics(telemetry.registry),
    })
    void service.stopped.then((error) => stop.aborted || fatal.abort(error ?? new Error('the micro service stopped')))
    const watching = broker.watch(
      {
        connected: () => {
          relay.recheck()
          // A watch may not have survived the server, and does not say so.
          accounts.replica.renew()
          leases.replica.renew()
          background.run(
            mirror.restore(stop).catch((error) => log.warn({ err: error }, 'accounts could not be checked yet')),
          )
        },
        renewed: async (name, renewal) => {
          log.error({ bucket: name, renewal }, 'a bucket is not what it was')
          if (name === 'leases') await (renewal === 'lost' ? leases.replica.clear() : leases.wentBackwards())
          if (name !== 'accounts') return
          accounts.replica.clear()
          await mirror.restore(stop)
        },
      },
      stop,
    )
    watching.catch((error) => fatal.abort(error))
    if (config.metricsPort !== undefined)
      await serveMetrics({ port: config.metricsPort, registry: telemetry.registry, signal: stop })
    log.info(
      {
        instance,
        version: packageJson.version,
        nats: config.nats.url,
        data: config.dataDir,
        providers: Object.keys(providers.clients),
      },
      'mail-sync runs',
    )
    ready?.({ instance })

    // Requests first, so that nobody is told something that is about to change; then the users; then everything else.
    await Promise.all([supervisor.run(stop), aborted(stop).then(() => service[Symbol.asyncDispose]())])
    await watching.catch((error) => log.debug({ err: error }, 'watching NATS ended'))
    if (fatal.signal.aborted) throw fatal.signal.reason
  }
}

/** Tasks that run beside the main one and end with it. */
class Background implements AsyncDisposable {
  readonly #stop = new AbortController()
  readonly #tasks: Promise<void>[] = []
  readonly signal: AbortSignal
  constructor(_outer: AbortSignal) {
    // Replicas live until everything that reads them has stopped: longer than the signal that begins the stop.
    this.signal = this.#stop.signal
  }
  run(task: Promise<void>): void {
    this.#tasks.push(task)
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('stopped'))
    await Promise.allSettled(this.#tasks)
  }
}

function levels(supervisor: Supervisor): { accounts: Record<string, number>; outboxPending: number; users: number } {
  const accounts: Record<string, number> = {}
  let outboxPending = 0
  for (const tenure of supervisor.tenures.values()) {
    outboxPending += tenure.pending
    for (const { state } of tenure.statuses() ?? []) accounts[state] = (accounts[state] ?? 0) + 1
  }
  return { accounts, outboxPending, users: supervisor.tenures.size }
}
