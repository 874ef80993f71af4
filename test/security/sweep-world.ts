/**
 * The whole system with canaries for secrets: instance, bridge and mailctl as processes, a provider that repeats in its
 * answers what it was sent when it is told to. It knows how to ask; what is asked is the story of the test.
 */
import { randomBytes } from 'node:crypto'
import { headers, type NatsConnection } from '#shared/nats.ts'
import { HEADER_AUTHORIZATION, type ProviderName } from '#shared/subjects.ts'
import { startIssuer } from '../shared/issuer.ts'
import type { Answer, Credentials } from '../simulator/types.ts'
import { freePort } from '../support/free-port.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'
import { startTapped } from './own-conf.ts'
import { type Program, type SecretKind, Sweep } from './sweep.ts'
import { type ForgeKey, forgeKey, signed } from './token-forge.ts'

const main = (program: 'mail' | 'http' | 'cli'): string =>
  new URL(`../../services/${program}/main.ts`, import.meta.url).pathname

/**
 * How the provider repeats tokens and secrets. `error`, `outage`: in every text of an error. `grant`: beside a code that ends
 * the grant. `garbage`: as a body that is no JSON.
 */
export type Echo = { routes: RegExp; as: 'error' | 'outage' | 'grant' | 'garbage'; users: readonly string[] }

export class SweepWorld {
  readonly sweep: Sweep
  readonly box: Sandbox
  readonly service: NatsConnection
  /** What the provider repeats at present, and how often it did. */
  echo: Echo | null = null
  readonly echoed = new Map<string, number>()
  url = ''
  metricsUrl = ''
  readonly #issuer: { key: ForgeKey; thief: ForgeKey; url: string }
  readonly #env: Record<string, string>

  constructor(
    parts: Pick<SweepWorld, 'sweep' | 'box' | 'service'>,
    issuer: { key: ForgeKey; thief: ForgeKey; url: string },
    env: Record<string, string>,
  ) {
    this.sweep = parts.sweep
    this.box = parts.box
    this.service = parts.service
    this.#issuer = issuer
    this.#env = env
  }

  canary(kind: SecretKind, prefix: string): string {
    return this.sweep.hide(kind, prefix + randomBytes(24).toString('base64url'))
  }

  /** A JWT of the user: by the issuer, or one that is to be refused. */
  jwt(sub: string, which: 'honest' | 'expired' | 'forged' = 'honest'): string {
    const { key, thief, url } = this.#issuer
    const exp = Math.floor(Date.now() / 1000) + (which === 'expired' ? -600 : 600)
    const token = signed(which === 'forged' ? thief : key, { iss: url, aud: url, sub, exp })
    // The first part is the same for every token, and in the documents.
    this.sweep.hide('jwt', token.slice(token.indexOf('.') + 1))
    return token
  }

  /** A new sign-in to the mailbox, which is made at the first one. */
  signIn(userId: string, provider: ProviderName, isNew = false): Credentials {
    const user = this.box.simUser(userId)
    const credentials = isNew
      ? this.box.sim.addMailbox({ user, provider, n: 4 })
      : this.box.sim.credentials(user, provider)
    this.sweep.hide('token', credentials.access_token)
    this.sweep.hide('token', credentials.refresh_token)
    return credentials
  }

  /** The id of one of the user's mails. */
  messageOf(userId: string, provider: ProviderName): string {
    const [id] = this.box.sim.truth(this.box.simUser(userId), provider).must
    if (id === undefined) throw new Error(`${userId} has no mail`)
    return id
  }

  post(path: string, body: string | object, more: Record<string, string>): Promise<{ status: number; text: string }> {
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    const type = { 'content-type': 'application/json' }
    return this.sweep.fetch(this.url + path, { method: 'POST', headers: { ...type, ...more }, body: text })
  }

  /** Lets the provider repeat itself to these users until each has met it. */
  async repeating(echo: Echo): Promise<void> {
    this.echoed.clear()
    this.echo = echo
    const areMet = (): boolean => echo.users.every((user) => this.echoed.has(user))
    await until(`${echo.as} is met by ${echo.users.join(' and ')}`, areMet, { timeoutMs: 60_000 })
  }

  /** A request of any form over NATS; what comes back is tapped. */
  async ask(subject: string, body: string | object, authorization?: string): Promise<string> {
    const hdrs = headers()
    if (authorization !== undefined) hdrs.set(HEADER_AUTHORIZATION, authorization)
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return (await this.service.request(subject, text, { headers: hdrs, timeout: 20_000 })).string()
  }

  async mailctl(args: readonly string[], input = ''): Promise<number | null> {
    const env = { ...this.#env, ...this.box.sim.env, ...this.roleEnv('service') }
    return await this.sweep.spawn(`mailctl ${args[0]}`, main('cli'), env, args, input).exited
  }

  roleEnv(role: 'service' | 'bridge'): Record<string, string> {
    const { nats } = this.box
    return { NATS_URL: nats.url, NATS_USER: role, NATS_PASSWORD: nats.passwords[role], NO_COLOR: '1' }
  }

  /** The same keys, out of a command. */
  keysByCommand(): Record<string, string> {
    return { MAIL_TOKEN_KEYS: '', MAIL_TOKEN_KEY_COMMAND: `echo ${this.#env.MAIL_TOKEN_KEYS}` }
  }

  /** The instance `a`, up or not. */
  instance(name: string, more: Record<string, string> = {}): Program {
    return this.sweep.spawn(name, main('mail'), this.box.env('a', more))
  }
  async startInstance(name: string, more: Record<string, string> = {}): Promise<Program> {
    const port = await freePort()
    const program = this.instance(name, { MAIL_METRICS_PORT: String(port), ...more })
    await program.wrote(/"mail-sync runs"/)
    this.metricsUrl = `http://127.0.0.1:${port}`
    return program
  }
  async startBridge(): Promise<Program> {
    const env = { ...this.box.env('bridge'), ...this.roleEnv('bridge'), HTTP_PORT: '0' }
    const program = this.sweep.spawn('bridge', main('http'), env)
    this.url = (await program.wrote(/"url":"(http:[^"]+)"/))[1] ?? ''
    return program
  }
}

export async function openSweepWorld(stack: AsyncDisposableStack): Promise<SweepWorld> {
  const sweep = new Sweep()
  const [key, thief] = [forgeKey('key', 'EdDSA'), forgeKey('key', 'EdDSA')]
  const issuer = stack.use(await startIssuer([key.jwk]))
  const secret = (kind: SecretKind, bytes = randomBytes(32)): string => {
    sweep.hide(kind, bytes.toString('hex'))
    return sweep.hide(kind, bytes.toString('base64url'))
  }
  const clients = [secret('client secret'), secret('client secret')] as const
  const env = {
    BETTER_AUTH_JWKS_URL: issuer.jwksUrl,
    GOOGLE_CLIENT_SECRET: clients[0],
    MICROSOFT_CLIENT_SECRET: clients[1],
    MAIL_TOKEN_KEYS: `k1:${secret('key')}`,
    MAIL_LOG_LEVEL: 'debug',
  }
  const given: string[] = [...clients]
  const onAnswer = (route: string, answer: Answer): void => {
    const body = Object(answer.body)
    if (route.endsWith('.token'))
      for (const token of [body.access_token, body.refresh_token])
        if (typeof token === 'string') given.push(sweep.hide('token', token))
    const { echo } = world
    if (echo === null || !echo.routes.test(route)) return
    const mailbox = box.sim.log().at(-1)?.mailbox
    // Of a revocation the simulator does not say whose it is.
    const userId = echo.users.find((user) => route.endsWith('.revoke') || box.simUser(user) === mailbox)
    if (userId === undefined) return
    world.echoed.set(userId, (world.echoed.get(userId) ?? 0) + 1)
    Object.assign(answer, repeated(echo.as, route, [...given.slice(-4), ...clients].join(' ')))
  }
  const nats = await startTapped(stack)
  const box = stack.use(await sandbox({ nats, env, simulator: { onAnswer }, steady: true }))
  for (const password of Object.values(box.nats.passwords)) sweep.hide('password', password)
  sweep.folder('data', box.dir)
  // The one file that holds the passwords, made by the script that starts the server.
  if ('dir' in box.nats) sweep.folder('nats', box.nats.dir, ['nats.env'])
  await sweep.tap(await box.connection('ops'))
  await sweep.tap(await box.connection('sys'))
  const world = new SweepWorld(
    { sweep, box, service: await box.connection('service') },
    { key, thief, url: issuer.url },
    env,
  )
  return world
}

function repeated(as: Echo['as'], route: string, text: string): Answer {
  const headers = { 'content-type': 'application/json' }
  if (as === 'garbage') return { status: 200, headers, body: text }
  if (/\.(?:token|revoke)$/.test(route))
    return { status: 400, headers, body: { error: as === 'grant' ? 'invalid_grant' : text, error_description: text } }
  const error = { code: text, message: text, status: text, errors: [{ message: text, reason: text }] }
  return { status: as === 'outage' ? 503 : 400, headers, body: { error } }
}
