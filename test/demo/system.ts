/**
 * Everything the demo runs: nats-server with nats.conf, the simulator, Better Auth, the instances, the HTTP bridge.
 * Free loopback ports, one directory, given by the caller. It knows how they find each other, not what they are for.
 */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, type NatsConnection } from '#shared/nats.ts'
import { inboxPrefix } from '#shared/subjects.ts'
import { type BetterAuthServer, startBetterAuth } from '../support/better-auth.ts'
import { type NatsRole, type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { type Blamed, LINES_SHOWN, type Part, PartError, type Running, startPart } from './part.ts'

const ROOT = join(import.meta.dirname, '../..')
const CONNECT_DEADLINE_MS = 10_000
const NATS_LOOK_MS = 250
/** The default is 30 s; nobody wants to wait that long for a new mail in a demo. */
export const SYNC_INTERVAL_MS = 1_000
const silent = createLog('demo', 'silent')

type Ready = { url: string; env: NodeJS.ProcessEnv }
/** What instances and bridge stand on. */
type Ground = {
  dir: string
  nats: NatsServer
  simulator: Running<Ready>
  auth: BetterAuthServer
  key: string
  stop: AbortSignal
}
type Instances = ReadonlyMap<string, Running<true>>

export async function startSystem(dir: string, instances: number, stop: AbortSignal): Promise<System> {
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
  const key = `k1:${randomBytes(32).toString('base64url')}`
  const ground: Ground = { dir, nats, simulator, auth, key, stop }
  const names = Array.from({ length: instances }, (_, i) => `mail-${i + 1}`)
  const [bridge, ...running] = await all(stack, [
    startBridge(ground),
    ...names.map((name) => startInstance(ground, name)),
  ])
  const started = new Map(running.map((instance) => [instance.part.name, instance]))
  return new System(ground, bridge, started, stack.move())
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

const startBridge = ({ nats, auth, stop }: Ground): Promise<Running<string>> => {
  const env = {
    NATS_URL: nats.url,
    NATS_USER: 'bridge',
    NATS_PASSWORD: nats.passwords.bridge,
    BETTER_AUTH_JWKS_URL: auth.jwksUrl,
    HTTP_PORT: '0',
  }
  const listening = (line: string): string | undefined =>
    line.includes('"msg":"listening"') ? (JSON.parse(line) as Ready).url : undefined
  return startPart({ name: 'bridge', script: join(ROOT, 'services/http/main.ts'), env }, listening, stop)
}

const diskOf = ({ dir }: Ground, name: string): string => join(dir, name)

/** Starts the instance of this name, or starts it again on the same data, and waits until it runs. */
function startInstance(ground: Ground, name: string): Promise<Running<true>> {
  const { nats, auth, simulator, key, stop } = ground
  const env = {
    NATS_URL: nats.url,
    NATS_USER: 'mailsync',
    NATS_PASSWORD: nats.passwords.mailsync,
    GOOGLE_CLIENT_ID: 'google-client',
    GOOGLE_CLIENT_SECRET: 'google-secret',
    MICROSOFT_CLIENT_ID: 'microsoft-client',
    MICROSOFT_CLIENT_SECRET: 'microsoft-secret',
    BETTER_AUTH_JWKS_URL: auth.jwksUrl,
    MAIL_DATA_DIR: diskOf(ground, name),
    MAIL_INSTANCE_NAME: name,
    MAIL_SYNC_INTERVAL_MS: String(SYNC_INTERVAL_MS),
    MAIL_SYNC_INTERVAL_MAX_MS: String(SYNC_INTERVAL_MS),
    // The quota of the simulator, a hundred times what Google grants: hours become seconds.
    MAIL_GMAIL_UNITS_PER_MIN: '600000',
    MAIL_GMAIL_PROJECT_UNITS_PER_MIN: '6000000',
    MAIL_GRAPH_REQUESTS_PER_10MIN: '600000',
    MAIL_TOKEN_KEYS: key,
    ...simulator.value.env,
  }
  const runs = (line: string): true | undefined => (line.includes('"msg":"mail-sync runs"') ? true : undefined)
  return startPart({ name, script: join(ROOT, 'services/mail/main.js'), env }, runs, stop)
}

export class System {
  readonly dir: string
  readonly nats: NatsServer
  readonly auth: BetterAuthServer
  readonly bridge: Part
  readonly bridgeUrl: string
  readonly simulator: Part
  readonly simulatorUrl: string
  /** Whether there was more than one instance from the start. */
  readonly isFleet: boolean
  /** While true, the death of an instance is the story's business and ends nothing. */
  instanceMayDie = false
  readonly #ground: Ground
  readonly #stack: AsyncDisposableStack
  readonly #failed = new AbortController()
  readonly #instances: Map<string, Running<true>>

  constructor(ground: Ground, bridge: Running<string>, instances: Instances, stack: AsyncDisposableStack) {
    this.dir = ground.dir
    this.nats = ground.nats
    this.auth = ground.auth
    this.simulator = ground.simulator.part
    this.simulatorUrl = ground.simulator.value.url
    this.bridge = bridge.part
    this.bridgeUrl = bridge.value
    this.isFleet = instances.size > 1
    this.#ground = ground
    this.#instances = new Map(instances)
    this.#stack = stack
    this.#watch(this.simulator)
    this.#watch(this.bridge)
    for (const part of this.instances) this.#watch(part)
    const looking = setInterval(() => this.#lookAtNats(), NATS_LOOK_MS)
    this.#stack.defer(() => clearInterval(looking))
    // All at once: the users of the first need not move to the second, which ends as well.
    this.#stack.defer(async () => {
      await Promise.all([...this.#instances.values()].map((running) => running[Symbol.asyncDispose]()))
    })
  }
  /** Aborted with a PartError when a part ends that should not. */
  get failed(): AbortSignal {
    return this.#failed.signal
  }
  /** Those that have their disk. */
  get instances(): readonly Part[] {
    return [...this.#instances.values()].map(({ part }) => part)
  }
  /** The first of them. */
  get instance(): Part {
    const [first] = this.instances
    if (first === undefined) throw new Error('no instance is left')
    return first
  }
  /** Whose last lines tell why nothing happens. */
  get blamed(): Blamed {
    if (!this.isFleet) return { name: 'instance', tail: () => this.instance.tail() }
    const tail = (): string => this.instances.map((part) => `${part.name}:\n${part.tail()}`).join('\n')
    return { name: 'instances', tail }
  }
  /** Starts an instance that has ended, on the data that it has. */
  async restartInstance(name: string): Promise<Part> {
    const running = await startInstance(this.#ground, name)
    this.#instances.set(name, running)
    this.#watch(running.part)
    return running.part
  }
  /** kill -9, and then its disk is gone. It does not come back. */
  async loseInstance(name: string): Promise<void> {
    await this.#instances.get(name)?.part.end('SIGKILL')
    this.#instances.delete(name)
    await rm(diskOf(this.#ground, name), { recursive: true, force: true })
  }
  /** A connection as one of the users of nats.conf. It ends with the system. */
  async connection(role: NatsRole): Promise<NatsConnection> {
    const login = { user: role, password: this.nats.passwords[role] }
    const options = { url: this.nats.url, name: `demo ${role}`, inboxPrefix: inboxPrefix(role), ...login }
    const nc = await connectNats(options, silent, AbortSignal.timeout(CONNECT_DEADLINE_MS))
    this.#stack.defer(() => (this.#ground.stop.aborted ? nc.close() : drainNats(nc, silent)))
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
      if (part.ending || (this.instances.includes(part) && this.instanceMayDie)) return
      this.#failed.abort(new PartError(part, `${part.name} ended by itself with ${how}`))
    })
  }
}
