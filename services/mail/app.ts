/**
 * The composition root, read from top to bottom: it opens the parts, connects them, runs them until the signal aborts,
 * and closes them in reverse. It decides nothing itself; the parts are put together in app/.
 */
import { join } from 'node:path'
import type { Worker } from 'node:worker_threads'
import { type App, aborted } from '#shared/lifecycle.ts'
import type { Log } from '#shared/log.ts'
import { whyClosed } from '#shared/nats.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { ControlThread } from './app/control-thread.ts'
import { openCredentials } from './app/credentials.ts'
import type { Engine } from './app/engine.ts'
import { type AppOptions as Ground, openGround } from './app/ground.ts'
import { Late } from './app/late.ts'
import { loadEngine } from './app/load-engine.ts'
import type { Base } from './app/ownership.ts'
import { patiently } from './app/patiently.ts'
import { serveRequests } from './app/serve.ts'
import { watchNats } from './app/watch.ts'
import { commitOf } from './base/commit.ts'
import { readConfig } from './base/config.ts'
import { settleHeap } from './base/heap.ts'
import type { Telemetry } from './base/telemetry.ts'
import { systemClock } from './base/time.ts'
import { leaseTimes } from './owner/lease-times.ts'
import type { Session } from './owner/session.ts'
import { lockDataDirectory } from './store/instance-lock.ts'

const ROOT = join(import.meta.dirname, '../..')
/** After the drain limit: to delete the session, so that the others need not wait for its silence. */
const CLOSING_MS = 1_000

export type AppOptions = Pick<Ground, 'config' | 'log'> &
  Partial<Pick<Ground, 'clock' | 'controls'>> & {
    /** Requests are answered; what does the users' work is still to be loaded. */
    answers?: () => void
    ready?: (info: { instance: string }) => void
    /** That answers requests, when it was started before. */
    thread?: Worker
  }

/** The service as the environment describes it. @throws ExitError 78 with one line per fault. */
export const appFromEnvironment =
  (log: Log, thread?: Worker): App =>
  (signal) => {
    const config = readConfig()
    log.level = config.logLevel
    return createApp({ config, log, ready: settleHeap, ...(thread === undefined ? {} : { thread }) })(signal)
  }

/** One instance of the mail service. Resolves after a clean stop; rejects with ExitError where only an operator can help. */
export function createApp({
  config,
  log,
  clock = systemClock,
  controls = {},
  answers,
  ready,
  thread: begun,
}: AppOptions): App {
  return async (signal) => {
    await using stack = new AsyncDisposableStack()
    const fatal = new AbortController()
    const stop = AbortSignal.any([signal, fatal.signal])
    const thread = stack.use(new ControlThread(log, begun))
    const { base, supervisor, watching } = await begin(
      { config, log, clock, controls },
      thread,
      stack,
      fatal,
      stop,
      answers,
    ).catch((error) => {
      // Whatever the end of the connection broke: it was told to stop.
      stop.throwIfAborted()
      throw error
    })
    base.broker.patience.afterStopMs = leaseTimes(config.silenceMs).drainMs + CLOSING_MS
    log.info(factsOf(base), 'mail-sync runs')
    ready?.({ instance: base.instance })

    // Requests first, so that nobody is told something that is about to change; then the users; then everything else.
    await Promise.all([supervisor.run(stop), aborted(stop).then(() => thread[Symbol.asyncDispose]())])
    await watching.catch((error) => log.debug({ err: error }, 'watching NATS ended'))
    if (fatal.signal.aborted) throw fatal.signal.reason
  }
}

async function begin(
  options: Ground,
  thread: ControlThread,
  stack: AsyncDisposableStack,
  fatal: AbortController,
  stop: AbortSignal,
  answers: () => void = () => undefined,
) {
  const { config, log, clock } = options
  const lock = stack.use(lockDataDirectory(config.dataDir))
  const instance = config.instanceName(lock.directoryId)
  thread.connect(config.nats, instance)
  const ground = await openGround({ ...options, lock, instance }, stack, stop)
  const telemetry = new Late<Telemetry>()
  const base = { ...ground, ...(await openCredentials(ground, telemetry, stack, stop)) }

  for (const missing of config.missingClients) log.warn(missing)
  const { background, mirror, leases } = base
  await patiently(() => mirror.restore(stop), { url: config.nats.url, clock, log, signal: stop })
  background.run(mirror.run(background.signal))
  background.run(leases.run(background.signal))
  const late = new Late<Engine>()
  const commit = commitOf(config.commit, ROOT)
  // A stop before the engine is there, or one that fails to load: nobody is left waiting for an answer.
  stack.use(thread)
  await serveRequests(thread, base, late, commit, stop)
  base.broker.patience.afterStopMs = CLOSING_MS
  answers()
  void Promise.race([whyClosed(base.broker.nc, config.nats), thread.stopped]).then((why) => {
    if (!stop.aborted) fatal.abort(why ?? new Error('the micro service stopped'))
  })
  const watching = watchNats(base, late, stop)
  watching.catch((error) => fatal.abort(error))
  const engine = await loadEngine(stop)
    .then(({ openEngine }) => openEngine(base, telemetry, commit))
    .catch((error) => {
      for (const part of [telemetry, late]) part.fail(error)
      throw error
    })
  late.arrive(engine)
  const { supervisor } = engine
  if (config.metrics !== null) {
    const { serveMetrics } = await import('#shared/metrics.ts')
    await serveMetrics({
      ...config.metrics,
      registry: engine.telemetry.registry,
      state: () => readinessOf(supervisor.session),
      // Until the users are handed over: that it is draining is to be seen.
      signal: background.signal,
    })
  }
  return { base, supervisor, watching }
}

/** Who is live and sees nothing answers, but its users are with others. */
const readinessOf = ({ state, blind }: Session): string => (state === 'live' && blind ? 'blind' : state)

/** What an operator wants to see of a start. */
const factsOf = ({ instance, config, clients }: Base) => ({
  instance,
  version: packageJson.version,
  nats: config.nats.url,
  data: config.dataDir,
  providers: Object.keys(clients),
})
