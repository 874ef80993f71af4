/**
 * The whole system for a test: a real nats-server with nats.conf, the provider simulator, a real Better Auth, and as many
 * instances as asked for. Everything listens on free loopback ports and lives in one temporary directory.
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { StatusReply } from '#shared/contract.ts'
import { requestOperation } from '#shared/control-client.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { serversOf } from '#shared/nats-login.ts'
import { inboxPrefix, type ProviderName } from '#shared/subjects.ts'
import { type Simulator, type SimulatorOptions, startSimulator } from '../simulator/simulator.ts'
import type { MailboxSpec } from '../simulator/types.ts'
import { type BetterAuthServer, startBetterAuth } from './better-auth.ts'
import { type InProcess, type InstanceProcess, spawnInstance, startInstance } from './instance.ts'
import { type Account, type Ledger, ledgerOf } from './ledger.ts'
import { type Nats, startNatsCluster } from './nats-cluster.ts'
import { type NatsRole, startNatsServer } from './nats-server.ts'
import { until } from './until.ts'

/** CLUSTER=3: a cluster of three in place of one server, with one node killed every ten seconds. */
const CLUSTER_SIZE = Number(process.env.CLUSTER || '1')
/** A try of a connect that is repeated: NATS may have handed it to an instance that is paused. */
const PATIENT_MS = 5_000
const KILLED_EVERY_MS = 10_000
const DOWN_MS = 3_000
/** What is different for an instance on a cluster; the limits of nats.conf count every copy. */
const ON_CLUSTER = { MAIL_NATS_REPLICAS: '3', MAIL_STREAM_MAX_BYTES: String(1024 ** 3) }

const silent = createLog('test', 'silent')

export type SandboxOptions = {
  simulator?: SimulatorOptions
  env?: Record<string, string>
  nats?: Nats
  /** No node is killed, on a cluster either: for tests that count what happens when nothing does. */
  steady?: boolean
  betterAuth?: boolean
}

export async function sandbox(options: SandboxOptions = {}): Promise<Sandbox> {
  const stack = new AsyncDisposableStack()
  try {
    const dir = await mkdtemp(join(tmpdir(), 'mail-sync-test-'))
    stack.defer(() => rm(dir, { recursive: true, force: true }))
    const nats = options.nats ?? stack.use(await startNats(options.steady === true))
    const sim = stack.use(await startSimulator(options.simulator))
    const auth = options.betterAuth === true ? stack.use(await startBetterAuth()) : null
    const box = new Sandbox(dir, nats, sim, auth, options.env ?? {}, stack)
    return box
  } catch (error) {
    await stack.disposeAsync()
    throw error
  }
}

async function startNats(steady: boolean): Promise<Nats> {
  if (CLUSTER_SIZE === 1) return await startNatsServer()
  const cluster = await startNatsCluster(CLUSTER_SIZE)
  if (!steady) cluster.keepKilling(KILLED_EVERY_MS, DOWN_MS)
  return cluster
}

export class Sandbox {
  readonly dir: string
  readonly nats: Nats
  readonly sim: Simulator
  readonly auth: BetterAuthServer | null
  readonly #env: Record<string, string>
  readonly #stack: AsyncDisposableStack
  readonly #accounts: { userId: string; provider: ProviderName; inboxId: string; simUser: string }[] = []
  readonly #credentials = new Map<string, ReturnType<Simulator['addMailbox']>>()
  readonly #key = `k1:${randomBytes(32).toString('base64url')}`

  constructor(
    dir: string,
    nats: Nats,
    sim: Simulator,
    auth: BetterAuthServer | null,
    env: Record<string, string>,
    stack: AsyncDisposableStack,
  ) {
    this.dir = dir
    this.nats = nats
    this.sim = sim
    this.auth = auth
    this.#env = env
    this.#stack = stack
  }

  get #onCluster(): boolean {
    return serversOf(this.nats.url).length > 1
  }

  /** Environment of the instance `name`; its data directory is `dir/name`. */
  env(name: string, more: Record<string, string> = {}): NodeJS.ProcessEnv {
    return {
      NATS_URL: this.nats.url,
      ...(this.nats.conf === 'roles'
        ? { NATS_USER: 'mailsync', NATS_PASSWORD: this.nats.passwords.mailsync }
        : { MAIL_TRUST_OPEN_NATS: '1' }),
      GOOGLE_CLIENT_ID: 'google-client',
      GOOGLE_CLIENT_SECRET: 'google-secret',
      MICROSOFT_CLIENT_ID: 'microsoft-client',
      MICROSOFT_CLIENT_SECRET: 'microsoft-secret',
      BETTER_AUTH_JWKS_URL: this.auth?.jwksUrl ?? 'http://127.0.0.1:9/api/auth/jwks',
      MAIL_DATA_DIR: join(this.dir, name),
      MAIL_INSTANCE_NAME: name,
      MAIL_SYNC_INTERVAL_MS: '600',
      // At every interval that a test asks for: it does not wait for mail longer, however long there was none.
      MAIL_SYNC_INTERVAL_MAX_MS: '100',
      MAIL_LEASE_SILENCE_MS: '2000',
      MAIL_GMAIL_UNITS_PER_MIN: '600000',
      MAIL_GMAIL_PROJECT_UNITS_PER_MIN: '6000000',
      MAIL_GRAPH_REQUESTS_PER_10MIN: '1000000',
      MAIL_TOKEN_KEYS: this.#key,
      MAIL_LOG_LEVEL: 'info',
      ...(this.#onCluster ? ON_CLUSTER : {}),
      ...this.sim.env,
      ...this.#env,
      ...more,
    }
  }

  /** An instance in this process. It ends with the sandbox. */
  async start(
    name: string,
    options: Parameters<typeof startInstance>[1] & { env?: Record<string, string> } = {},
  ): Promise<InProcess> {
    return this.#stack.use(await startInstance(this.env(name, options.env), options))
  }
  /** An instance as a process of its own. It ends with the sandbox. */
  async spawn(name: string, env: Record<string, string> = {}): Promise<InstanceProcess> {
    return this.#stack.use(await spawnInstance(this.env(name, env)))
  }

  /** A connection as one of the users of nats.conf. It ends with the sandbox. */
  async connection(role: NatsRole, url = this.nats.url): Promise<NatsConnection> {
    const roles = this.nats.conf === 'roles'
    const nc = await connectNats(
      {
        url,
        name: `test ${role}`,
        inboxPrefix: inboxPrefix(roles ? role : undefined),
        ...(roles ? { user: role, password: this.nats.passwords[role] } : {}),
      },
      silent,
      AbortSignal.timeout(20_000),
    )
    this.#stack.defer(() => drainNats(nc, silent))
    return nc
  }

  /** Makes a mailbox of `n` mails in the simulator and connects it for the user, as a trusted service does. */
  async connect(
    nc: NatsConnection,
    userId: string,
    provider: ProviderName,
    spec: Omit<MailboxSpec, 'user' | 'provider'>,
    inboxId = 'primary',
    { patient = this.#onCluster, requestId = 'test' }: { patient?: boolean; requestId?: string } = {},
  ): Promise<void> {
    const simUser = `${userId}-${inboxId}`
    const key = `${provider} ${simUser}`
    // A test that repeats what was not answered connects the same mailbox.
    const credentials = this.#credentials.get(key) ?? this.sim.addMailbox({ user: simUser, provider, ...spec })
    if (!this.#credentials.has(key)) this.#accounts.push({ userId, provider, inboxId, simUser })
    this.#credentials.set(key, credentials)
    const { access_token, refresh_token, expires_in } = credentials
    const body = { provider, access_token, refresh_token, expires_in, inbox_id: inboxId }
    const call = { asUser: userId, body, requestId, ...(patient ? { timeoutMs: PATIENT_MS } : {}) }
    const request = () => requestOperation(nc, 'connect', call)
    // Connecting again changes nothing; while a leader is elected it is refused, and by instances at their limit it is late.
    await (patient ? until(`${userId} is connected`, request, { timeoutMs: 90_000 }) : request())
  }
  async status(nc: NatsConnection, userId: string): Promise<StatusReply> {
    return await requestOperation(nc, 'status', { asUser: userId, body: {}, requestId: 'test' })
  }
  /** Name of the mailbox in the simulator. */
  simUser(userId: string, inboxId = 'primary'): string {
    return `${userId}-${inboxId}`
  }

  /** What the provider says must have been received, against what stands on the stream. */
  async ledger(nc: NatsConnection): Promise<Ledger> {
    const accounts: Account[] = this.#accounts.map(({ userId, provider, inboxId, simUser }) => ({
      userId,
      inboxId,
      provider: provider === 'google' ? 'GOOGLE' : 'MICROSOFT',
      ...this.sim.truth(simUser, provider),
    }))
    return await ledgerOf(nc, accounts)
  }
  /** Waits until every account of these users is live with nothing left in the outbox. */
  async allLive(nc: NatsConnection, userIds: readonly string[], timeoutMs = 60_000): Promise<void> {
    for (const userId of userIds)
      await until(
        `${userId} is live`,
        async () => {
          const { accounts } = await this.status(nc, userId)
          const settled =
            accounts.length > 0 &&
            accounts.every(({ state, outbox, live }) => state === 'live' && outbox.pending === 0 && live)
          if (!settled)
            throw new Error(
              JSON.stringify(
                accounts.map(({ state, progress, last_error, outbox, live }) => ({
                  state,
                  progress,
                  last_error,
                  outbox,
                  live,
                })),
              ),
            )
          return true
        },
        { timeoutMs, everyMs: 100 },
      )
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}
