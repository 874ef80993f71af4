/**
 * Everything the demo runs: nats-server with nats.conf, the simulator, Better Auth, one instance, the HTTP bridge.
 * Free loopback ports, one directory, given by the caller. It knows how they find each other, not what they are for.
 */
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { inboxPrefix } from '#shared/subjects.ts'
import { type BetterAuthServer, startBetterAuth } from '../support/better-auth.ts'
import { type NatsRole, type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { LINES_SHOWN, type Part, PartError, type Running, startPart } from './part.ts'

const ROOT = join(import.meta.dirname, '../..')
const CONNECT_DEADLINE_MS = 10_000
const NATS_LOOK_MS = 250
/** The default is 30 s; nobody wants to wait that long for a new mail in a demo. */
export const SYNC_INTERVAL_MS = 1_000
const silent = createLog('demo', 'silent')

type Ready = { url: string; env: NodeJS.ProcessEnv }

export async function startSystem(dir: string, stop: AbortSignal): Promise<System> {
  await using stack = new AsyncDisposableStack()
  const [nats, simulator, auth] = await all(stack, [
    startNatsServer({ dir: join(dir, 'nats') }),
    startPart(
      { name: 'simulator', script: join(ROOT, 'test/simulator/main.ts'), args: ['--page-size-graph', '50'], env: {} },
      (line) => (line.startsWith('{"url"') ? (JSON.parse(line) as Ready) : undefined),
      stop,
    ),
    // The token of the curl line that the demo shows has to live as long as somebody may look at it.
    startBetterAuth({ jwtLifetime: '12h' }),
  ])
  const bridge = await startPart(
    { name: 'bridge', script: join(ROOT, 'services/http/main.ts'), env: bridgeEnv(nats, auth) },
    (line) => (line.includes('"msg":"listening"') ? (JSON.parse(line) as Ready).url : undefined),
    stop,
  )
  stack.use(bridge)
  const system = new System({ dir, nats, simulator, auth, bridge, stop, stack: stack.move() })
  try {
    await system.startInstance()
    return system
  } catch (error) {
    await system[Symbol.asyncDispose]()
    throw error
  }
}

/** Waits for all, so that nothing that came up is forgotten when something else did not. */
async function all<T extends readonly AsyncDisposable[]>(
  stack: AsyncDisposableStack,
  starting: { [K in keyof T]: Promise<T[K]> },
): Promise<T> {
  const results = await Promise.allSettled(starting)
  for (const result of results) if (result.status === 'fulfilled') stack.use(result.value as AsyncDisposable)
  for (const result of results) if (result.status === 'rejected') throw result.reason
  return results.map((result) => (result.status === 'fulfilled' ? result.value : null)) as unknown as T
}

const bridgeEnv = (nats: NatsServer, auth: BetterAuthServer): NodeJS.ProcessEnv => ({
  NATS_URL: nats.url,
  NATS_USER: 'bridge',
  NATS_PASSWORD: nats.passwords.bridge,
  BETTER_AUTH_JWKS_URL: auth.jwksUrl,
  HTTP_PORT: '0',
})

type SystemParts = {
  dir: string
  nats: NatsServer
  simulator: Running<Ready>
  auth: BetterAuthServer
  bridge: Running<string>
  stop: AbortSignal
  stack: AsyncDisposableStack
}

export class System {
  readonly dir: string
  readonly nats: NatsServer
  readonly auth: BetterAuthServer
  readonly bridge: Part
  readonly bridgeUrl: string
  readonly simulator: Part
  readonly simulatorUrl: string
  /** While true, the death of the instance is the story's business and ends nothing. */
  instanceMayDie = false
  readonly #simulatorEnv: NodeJS.ProcessEnv
  readonly #stop: AbortSignal
  readonly #stack: AsyncDisposableStack
  readonly #failed = new AbortController()
  readonly #key = `k1:${randomBytes(32).toString('base64url')}`
  #instance: Part | undefined

  constructor({ dir, nats, simulator, auth, bridge, stop, stack }: SystemParts) {
    this.dir = dir
    this.nats = nats
    this.auth = auth
    this.simulator = simulator.part
    this.simulatorUrl = simulator.value.url
    this.#simulatorEnv = simulator.value.env
    this.bridge = bridge.part
    this.bridgeUrl = bridge.value
    this.#stop = stop
    this.#stack = stack
    this.#watch(this.simulator)
    this.#watch(this.bridge)
    const looking = setInterval(() => this.#lookAtNats(), NATS_LOOK_MS)
    this.#stack.defer(() => clearInterval(looking))
  }
  /** Aborted with a PartError when a part ends that should not. */
  get failed(): AbortSignal {
    return this.#failed.signal
  }
  get instance(): Part {
    if (this.#instance === undefined) throw new Error('no instance was started')
    return this.#instance
  }
  /** Starts the instance, or starts it again on the same data, and waits until it runs. */
  async startInstance(): Promise<void> {
    const env = {
      NATS_URL: this.nats.url,
      NATS_USER: 'mailsync',
      NATS_PASSWORD: this.nats.passwords.mailsync,
      GOOGLE_CLIENT_ID: 'google-client',
      GOOGLE_CLIENT_SECRET: 'google-secret',
      MICROSOFT_CLIENT_ID: 'microsoft-client',
      MICROSOFT_CLIENT_SECRET: 'microsoft-secret',
      BETTER_AUTH_JWKS_URL: this.auth.jwksUrl,
      MAIL_DATA_DIR: join(this.dir, 'instance'),
      MAIL_INSTANCE_NAME: 'demo',
      MAIL_SYNC_INTERVAL_MS: String(SYNC_INTERVAL_MS),
      // The quota of the simulator, a hundred times what Google grants: hours become seconds.
      MAIL_GMAIL_UNITS_PER_MIN: '600000',
      MAIL_GMAIL_PROJECT_UNITS_PER_MIN: '6000000',
      MAIL_GRAPH_REQUESTS_PER_10MIN: '600000',
      MAIL_TOKEN_KEYS: this.#key,
      ...this.#simulatorEnv,
    }
    const script = join(ROOT, 'services/mail/main.ts')
    const running = await startPart(
      { name: 'instance', script, env },
      (line) => (line.includes('"msg":"mail-sync runs"') ? true : undefined),
      this.#stop,
    )
    this.#stack.use(running)
    this.#instance = running.part
    this.#watch(running.part)
  }
  /** A connection as one of the users of nats.conf. It ends with the system. */
  async connection(role: NatsRole): Promise<NatsConnection> {
    const login = { user: role, password: this.nats.passwords[role] }
    const options = { url: this.nats.url, name: `demo ${role}`, inboxPrefix: inboxPrefix(role), ...login }
    const nc = await connectNats(options, silent, AbortSignal.timeout(CONNECT_DEADLINE_MS))
    this.#stack.defer(() => (this.#stop.aborted ? nc.close() : drainNats(nc, silent)))
    return nc
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
  #lookAtNats(): void {
    if (this.nats.running) return
    const nats = { name: 'nats-server', tail: () => this.nats.log.trim().split('\n').slice(-LINES_SHOWN).join('\n') }
    this.#failed.abort(new PartError(nats, 'nats-server ended by itself'))
  }
  #watch(part: Part): void {
    void part.ended.then((how) => {
      if (part.ending || (part === this.#instance && this.instanceMayDie)) return
      this.#failed.abort(new PartError(part, `${part.name} ended by itself with ${how}`))
    })
  }
}
