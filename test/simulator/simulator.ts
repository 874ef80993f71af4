/**
 * Owns the life of the provider simulator: one loopback port for Gmail, Graph, both token endpoints and `/__sim`.
 * An independent oracle: it imports nothing of the services and they never import it.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answerControl } from './control.ts'
import { dispatch } from './dispatch.ts'
import type { LedgerSnapshot } from './ledger.ts'
import { createGone, realTime, send } from './transport.ts'
import type {
  Answer,
  Credentials,
  LogEntry,
  MailboxSpec,
  Mutation,
  Paging,
  ProviderName,
  QuotaProfile,
  Rule,
  SimRequest,
  Time,
  Truth,
} from './types.ts'
import { createWorld, type WorldOptions } from './world.ts'

const BODY_MOST_BYTES = 1 << 20
const LOG_MOST = 50_000

export interface SimulatorOptions {
  /** Default 0: any free port. Loopback only. */
  port?: number
  /** Default `fast` (600,000 Gmail units a minute). */
  profile?: QuotaProfile
  seed?: number
  /** What a Gmail page token of `messages.list` means; default `keyset`. */
  paging?: Paging
  /** Wall clock in epoch ms. */
  now?: () => number
  /** Monotonic ms and sleeps, so that a test can run the simulator in virtual time; default is real time. */
  time?: Time
  /** How long each answer takes, in ms; default 0. */
  latencyMs?: () => number
  /** Most items of a Graph page, whatever `Prefer: odata.maxpagesize` asks for; default 1000. */
  pageSizeGraph?: number
  /** Life of access tokens in seconds; default 3600. */
  tokenLifeS?: number
  googleRotation?: 'never' | 'sometimes'
  /** The old refresh token dies as soon as it was replaced; default false. */
  strictRotation?: boolean
  /** Requests that arrive so soon (ms) after an announced pause are not early retries; default 1000: on a busy machine they are that late. */
  graceMs?: number
  /** Requests of one mailbox that Gmail serves at once, the parts of a batch among them; default any number. */
  concurrencyGmail?: number
  /** Gmail quota units of the whole project in a minute; default is the profile's. */
  projectPerMin?: number
  /** How many requests the log holds at least; older ones are left out. Default 50,000. */
  logMost?: number
  /** Sees every answer, also to each part of a batch of Gmail, before the faults of the wire; for conformance checks. */
  onAnswer?: (route: string, answer: Answer, fault: string | undefined) => void
  /** Hears of every answer when it was handed to the socket. */
  onSent?: (route: string, answer: Answer) => void
}

export interface SimulatorEnv {
  MAIL_GMAIL_BASE_URL: string
  MAIL_GOOGLE_TOKEN_URL: string
  MAIL_GOOGLE_REVOKE_URL: string
  MAIL_GRAPH_BASE_URL: string
  MAIL_MICROSOFT_TOKEN_URL: string
}

export interface Simulator extends AsyncDisposable {
  readonly url: string
  /** Values for the environment of the service. */
  readonly env: SimulatorEnv
  addMailbox: (spec: MailboxSpec) => Credentials
  /** New tokens for a mailbox, as after a sign-in. */
  credentials: (user: string, provider: ProviderName) => Credentials
  /** Changes a mailbox as its owner or the world would; answers the id of the mail (or folder) afterwards. */
  mutate: (action: Mutation) => string
  faults: { add: (rule: Rule) => void; clear: () => void }
  /** Moves the simulator's clock on. */
  advance: (ms: number) => void
  log: () => readonly LogEntry[]
  /** The log from that moment on, epoch ms of the simulator's clock. @throws when some of it was left out already */
  logSince: (t: number) => readonly LogEntry[]
  ledger: () => LedgerSnapshot
  truth: (user: string, provider: ProviderName) => Truth
  /** Forgets mailboxes, tokens, faults, log and ledger. */
  reset: () => void
  close: () => Promise<void>
}

async function readBody(message: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of message as AsyncIterable<Buffer>) {
    size += part.length
    if (size > BODY_MOST_BYTES) throw new Error('simulator: body too large')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

async function readRequest(message: IncomingMessage, origin: string): Promise<SimRequest> {
  const body = await readBody(message)
  const pairs = Object.entries(message.headers).map(([name, value]) => [
    name,
    Array.isArray(value) ? value.join(', ') : (value ?? ''),
  ])
  const url = new URL(message.url ?? '/', origin)
  return { method: message.method ?? 'GET', url, headers: Object.fromEntries(pairs), body }
}

function worldOptions(options: SimulatorOptions): WorldOptions {
  return {
    profile: options.profile ?? 'fast',
    seed: options.seed ?? 1,
    paging: options.paging ?? 'keyset',
    now: options.now ?? Date.now,
    pageSizeGraph: options.pageSizeGraph ?? 1000,
    tokenLifeS: options.tokenLifeS ?? 3600,
    googleRotation: options.googleRotation ?? 'never',
    strictRotation: options.strictRotation ?? false,
    graceMs: options.graceMs ?? 1_000,
    monoMs: (options.time ?? realTime).monoMs,
    projectPerMin: options.projectPerMin,
    concurrencyGmail: options.concurrencyGmail ?? Number.POSITIVE_INFINITY,
    logMost: options.logMost ?? LOG_MOST,
  }
}

function envOf(url: string): SimulatorEnv {
  return {
    MAIL_GMAIL_BASE_URL: url,
    MAIL_GOOGLE_TOKEN_URL: `${url}/google/token`,
    MAIL_GOOGLE_REVOKE_URL: `${url}/google/revoke`,
    MAIL_GRAPH_BASE_URL: `${url}/v1.0`,
    MAIL_MICROSOFT_TOKEN_URL: `${url}/common/oauth2/v2.0/token`,
  }
}

export async function startSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  let world = createWorld(worldOptions(options))
  const reset = () => {
    world = createWorld(worldOptions(options))
  }
  const closing = new AbortController()
  const time = options.time ?? realTime
  let url = ''

  const serve = async (message: IncomingMessage, response: ServerResponse): Promise<void> => {
    const request = await readRequest(message, url)
    if (request.url.pathname.startsWith('/__sim/')) {
      return send(response, answerControl(world, request, reset), {
        nowMs: Date.now(),
        fault: undefined,
        time,
        gone: closing.signal,
      })
    }
    const outcome = dispatch(world, request)
    const { answer, fault, done } = outcome
    response.once('close', done)
    for (const each of [...outcome.parts, outcome]) options.onAnswer?.(each.route, each.answer, each.fault?.type)
    const gone = createGone(response, closing.signal)
    const latencyMs = options.latencyMs?.() ?? 0
    if (latencyMs > 0) await time.sleep(latencyMs, gone)
    await send(response, answer, { nowMs: world.clock.now(), fault, time, gone })
    options.onSent?.(outcome.route, answer)
  }
  const server = createServer((message, response) => {
    serve(message, response).catch((error: unknown) => {
      // Whoever asked is gone, or all of it ends.
      if (closing.signal.aborted || (error instanceof Error && error.name === 'AbortError')) return
      // A fault of the simulator itself must be seen, not look like a provider.
      process.stderr.write(`simulator: ${error instanceof Error ? error.stack : String(error)}\n`)
      response.destroy()
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const close = async (): Promise<void> => {
    if (!server.listening) return
    closing.abort()
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    server.closeAllConnections()
    await closed
  }
  return {
    url,
    env: envOf(url),
    addMailbox: (spec) => world.addMailbox(spec),
    credentials: (user, provider) => world.credentials(user, provider),
    mutate: (action) => world.mutate(action),
    faults: { add: (rule) => world.faults.add(rule), clear: () => world.faults.clear() },
    advance: (ms) => world.clock.advance(ms),
    log: () => world.log,
    logSince: (t) => world.logSince(t),
    ledger: () => world.ledger.snapshot(),
    truth: (user, provider) => world.truth(user, provider),
    reset,
    close,
    [Symbol.asyncDispose]: close,
  }
}
