/**
 * What a cell of throughput stands on: nats-server with nats.conf, the provider of the benchmarks, instances and pipelines as
 * processes. It counts events on the stream and what each process used; it decides nothing about what that means.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type JetStreamManager, jetstreamManager } from '@nats-io/jetstream'
import { requestOperation } from '#shared/control-client.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { EVENT_STREAM, inboxPrefix, type ProviderName } from '#shared/subjects.ts'
import { type InstanceProcess, spawnInstance } from '../../support/instance.ts'
import { type NatsRole, type NatsServer, startNatsServer } from '../../support/nats-server.ts'
import { INSPECTED } from '../kit/inspector.ts'
import { NO_QUOTA } from '../kit/no-quota.ts'
import type { BenchOptions } from '../kit/options.ts'
import { profiled } from '../kit/profile.ts'
import { Program } from '../kit/program.ts'
import { orStopped } from '../kit/stop.ts'
import { quiet } from '../kit/usage.ts'
import type { PipelineRequest } from '../pipeline/main.ts'
import { tokenOf } from '../provider/mailbox.ts'
import { BenchProvider } from '../provider/provider.ts'

const PIPELINE = join(import.meta.dirname, '../pipeline/main.ts')
const LOOK_MS = 10
/** Nothing new on the stream for so long: something is broken. */
const STUCK_MS = 60_000
const silent = createLog('bench', 'silent')

/** Only the work on what is there. */
const NO_POLLS = { MAIL_SYNC_INTERVAL_MS: '3600000' }

export class Stage implements AsyncDisposable {
  readonly nats: NatsServer
  readonly provider: BenchProvider
  /** An empty folder of this stage. */
  readonly dir: string
  readonly #options: BenchOptions
  readonly #stack: AsyncDisposableStack
  /** Of all programs that run on this stage. */
  readonly #pids: Set<number>
  readonly #key = `k1:${randomBytes(32).toString('base64url')}`
  readonly #service: NatsConnection
  readonly #jsm: JetStreamManager

  private constructor(of: Pick<Stage, 'nats' | 'provider' | 'dir'>, options: BenchOptions, link: Link) {
    this.nats = of.nats
    this.provider = of.provider
    this.dir = of.dir
    this.#options = options
    this.#pids = new Set([of.nats.pid, of.provider.pid])
    this.#stack = link.stack
    this.#service = link.service
    this.#jsm = link.jsm
  }

  static async start(options: BenchOptions): Promise<Stage> {
    const stack = new AsyncDisposableStack()
    try {
      const dir = await mkdtemp(join(options.dir, 'stage-'))
      stack.defer(() => rm(dir, { recursive: true, force: true }))
      const nats = stack.use(await startNatsServer({ dir: join(dir, 'nats') }))
      const provider = stack.use(await BenchProvider.start(options.signal))
      const service = await connect(nats, 'service', stack, options.signal)
      const jsm = await jetstreamManager(await connect(nats, 'ops', stack, options.signal))
      return new Stage({ nats, provider, dir }, options, { stack, service, jsm })
    } catch (error) {
      await stack.disposeAsync()
      throw error
    }
  }

  /** Starts an instance and waits until it runs. It ends with the stage, or before. */
  async instance(name: string, env: Record<string, string> = {}): Promise<InstanceProcess> {
    const { profiles, signal } = this.#options
    const starting = spawnInstance({ ...this.#env(name), ...env, ...(profiles !== null && INSPECTED) })
    const instance = this.#stack.use(await orStopped(starting, signal))
    // Whoever is sampled never rests; that its broker does has to do.
    if (profiles === null) this.#pids.add(instance.pid)
    else this.#stack.defer(await profiled(instance, profiles, this.#options.say))
    void instance.exited.then(() => this.#pids.delete(instance.pid))
    return instance
  }

  /** Starts the process of a pipeline, connected to NATS. There must have been an instance, which makes the stream. */
  async pipeline(): Promise<Pipeline> {
    const program = this.#stack.use(new Program(PIPELINE, {}))
    this.#pids.add(program.pid)
    const pipeline = new Pipeline(program, this.#options.signal)
    const nats = { url: this.nats.url, user: 'mailsync', password: this.nats.passwords.mailsync }
    await pipeline.ask({ what: 'open', nats, url: this.provider.url, dir: join(this.dir, `pipeline-${program.pid}`) })
    return pipeline
  }

  /** Connects a mailbox of so many mails; the instance then fetches it. */
  async connectMailbox(user: string, provider: ProviderName, mails: number): Promise<void> {
    const token = tokenOf({ user, mails })
    const body = { provider, access_token: token, refresh_token: token, expires_in: 86_400, inbox_id: 'primary' }
    await requestOperation(this.#service, 'connect', { asUser: user, body, requestId: 'bench' })
  }

  /** Sequence of the last event on the stream. */
  async events(): Promise<number> {
    return (await this.#jsm.streams.info(EVENT_STREAM)).state.last_seq
  }

  /** Waits until all programs of the stage have had next to nothing to do for so long. A minute that was not enough is said. */
  async quiet(forMs: number): Promise<void> {
    if (await quiet([...this.#pids], this.#options.signal, forMs)) return
    this.#options.say('the programs did not come to rest: what they went on with is not counted in the CPU of this run')
  }

  /** Waits until the stream has so many events. @throws Error when it has more, or gets none for a minute */
  async reached(count: number): Promise<void> {
    const { signal } = this.#options
    for (let before = 0, changed = performance.now(); ; ) {
      signal.throwIfAborted()
      const now = await this.events()
      if (now > count) throw new Error(`${now} events on the stream, ${count} were expected`)
      if (now === count) return
      if (now > before) changed = performance.now()
      before = now
      if (performance.now() - changed > STUCK_MS) throw new Error(`stuck at ${now} of ${count} events`)
      await sleep(LOOK_MS, undefined, { signal })
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }

  #env(name: string): Record<string, string> {
    return {
      NATS_URL: this.nats.url,
      NATS_USER: 'mailsync',
      NATS_PASSWORD: this.nats.passwords.mailsync,
      GOOGLE_CLIENT_ID: 'google-client',
      GOOGLE_CLIENT_SECRET: 'google-secret',
      MICROSOFT_CLIENT_ID: 'microsoft-client',
      MICROSOFT_CLIENT_SECRET: 'microsoft-secret',
      BETTER_AUTH_JWKS_URL: 'http://127.0.0.1:9/api/auth/jwks',
      MAIL_DATA_DIR: join(this.dir, name),
      MAIL_INSTANCE_NAME: name,
      MAIL_TOKEN_KEYS: this.#key,
      ...NO_QUOTA,
      ...NO_POLLS,
      ...this.provider.env,
    }
  }
}

type Link = { stack: AsyncDisposableStack; service: NatsConnection; jsm: JetStreamManager }

async function connect(
  nats: NatsServer,
  user: NatsRole,
  stack: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<NatsConnection> {
  const login = { url: nats.url, user, password: nats.passwords[user] }
  const nc = await connectNats({ ...login, name: `bench ${user}`, inboxPrefix: inboxPrefix(user) }, silent, signal)
  stack.defer(() => drainNats(nc, silent))
  return nc
}

/** The process of a pipeline. */
export class Pipeline {
  readonly #program: Program
  readonly #signal: AbortSignal

  constructor(program: Program, signal: AbortSignal) {
    this.#program = program
    this.#signal = signal
  }
  get pid(): number {
    return this.#program.pid
  }
  ask(request: PipelineRequest): Promise<unknown> {
    return this.#program.ask(request, this.#signal)
  }
}
