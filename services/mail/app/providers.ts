/** The providers: adapters and quotas; and the question whose mailbox a credential opens. */
import { AppError } from '#shared/errors.ts'
import type { Secret } from '#shared/secret.ts'
import type { Config } from '../base/config.ts'
import { createHttp } from '../base/http.ts'
import { type AccountRef, type ProviderName, toSeconds } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import type { HandedTokens, Identified } from '../control/ports.ts'
import { createGmail } from '../provider/gmail/adapter.ts'
import { createOutlook } from '../provider/outlook/adapter.ts'
import { type Limiter, type MailProvider, ProviderError } from '../provider/provider.ts'
import { MailboxLimiter, TokenBucket } from '../sync/limiter.ts'
import { PollLimiter } from '../sync/poll-limiter.ts'
import { GrantError } from '../token/grant-error.ts'
import { type GrantClient, refreshGrant } from '../token/refresh.ts'
import type { Grants } from './grants.ts'
import { type Mailbox, Pauses } from './pauses.ts'

/**
 * Parts of a quota: what is used steadily, and what may be saved up for a moment. Google counts each minute for itself, so both
 * together stay below the whole; the rest is for requests that take longer on their way than those before them.
 */
const GMAIL = { steady: 0.96, saved: 1 / 30 }
/** Graph does not say how it counts. */
const GRAPH = { steady: 0.8, saved: 1 / 10 }
const GMAIL_BURST_MAX = 1_000
const GMAIL_CONCURRENCY = { start: 2, max: 8 }
const IDENTIFY_MS = 5_000
const MINUTE_MS = 60_000

export type Providers = AsyncDisposable & {
  byName: Record<ProviderName, MailProvider>
  /** A new limiter with the quota of the account's mailbox; an announced pause of either holds in it. */
  limiter(of: Mailbox): MailboxLimiter
  /** The same for one poll, which costs next to nothing as long as nobody is throttled. @param sharers of the mailbox */
  pollLimiter(of: Mailbox, sharers: () => number): Limiter
  /** The provider's project is throttled: nobody asks for `ms`. */
  pauseProject(provider: ProviderName, ms: number): void
  /** What a provider grants the whole project is divided by the instances that are at work. */
  divideProject(instances: number): void
  /** Whose mailbox it is; in an announced pause nobody is asked, as if the provider could not be reached. */
  identify(account: AccountRef, mailbox: string | null, tokens: HandedTokens, signal: AbortSignal): Promise<Identified>
}

/** @param connect makes the way to the providers; a test counts what is under way on it. */
export function createProviders(
  config: Config,
  clock: Clock,
  clients: Grants['clients'],
  connect: typeof createHttp = createHttp,
): Providers {
  const http = connect({ clock })
  const byName = {
    google: createGmail({ baseUrl: config.gmail.baseUrl, getUnits: config.gmail.getUnits, http, clock }),
    microsoft: createOutlook({ baseUrl: config.graph.baseUrl, http }),
  }
  const gmailProject = new TokenBucket(
    GMAIL.saved * config.gmail.projectUnitsPerMin,
    (GMAIL.steady * config.gmail.projectUnitsPerMin) / MINUTE_MS,
    clock,
  )
  // What this instance, or the one whose place it takes, spent a moment ago is not known: it saves up anew.
  gmailProject.take(gmailProject.capacity)
  // Graph has no project quota to divide; its bucket only carries an announced pause.
  const graphProject = new TokenBucket(Number.MAX_SAFE_INTEGER, 1, clock)
  const projects = { google: gmailProject, microsoft: graphProject }
  const pauses = new Pauses(clock)
  const limiter = (of: Mailbox): MailboxLimiter => {
    const { burst, ratePerMs, ...concurrency } = quotaOf(config, of.account.provider)
    const buckets = [pauses.bucket(burst, ratePerMs, of), projects[of.account.provider]]
    return new MailboxLimiter(buckets, concurrency, clock)
  }
  const pollLimiter = (of: Mailbox, sharers: () => number): Limiter =>
    new PollLimiter(pauses.leftMs(of), projects[of.account.provider], () => {
      const full = limiter(of)
      full.setSharers(sharers())
      return full
    })
  return {
    byName,
    limiter,
    pollLimiter,
    pauseProject: (provider, ms) => projects[provider].pause(ms),
    divideProject: (instances) => gmailProject.divide(instances),
    async identify(account, mailbox, tokens, signal) {
      const { provider } = account
      const of = { account, mailbox: () => mailbox }
      if (pauses.leftMs(of) > 0 || projects[provider].pausedMs > 0) return { identity: null, tokens }
      return await identify(byName[provider], clients[provider], limiter(of), tokens, clock, signal)
    },
    [Symbol.asyncDispose]: () => http[Symbol.asyncDispose](),
  }
}

type Quota = { burst: number; ratePerMs: number; start: number; max: number }

function quotaOf({ gmail, graph }: Config, provider: ProviderName): Quota {
  if (provider === 'google')
    return {
      burst: Math.min(GMAIL_BURST_MAX, GMAIL.saved * gmail.unitsPerMin),
      ratePerMs: (GMAIL.steady * gmail.unitsPerMin) / MINUTE_MS,
      ...GMAIL_CONCURRENCY,
    }
  return {
    burst: GRAPH.saved * graph.requestsPer10Min,
    ratePerMs: (GRAPH.steady * graph.requestsPer10Min) / (10 * MINUTE_MS),
    start: graph.concurrency,
    max: graph.concurrency,
  }
}

/** On 401 one refresh; a provider that cannot be reached is asked later, by the worker. */
async function identify(
  provider: MailProvider,
  client: GrantClient | undefined,
  limiter: MailboxLimiter,
  tokens: HandedTokens,
  clock: Clock,
  signal: AbortSignal,
): Promise<Identified> {
  const ask = async (accessToken: Secret): Promise<{ mailbox: string; address: string | null }> => {
    const within = AbortSignal.any([signal, AbortSignal.timeout(IDENTIFY_MS)])
    const { mailbox, address } = await provider.identify({ accessToken, limiter, priority: 'connect', signal: within })
    return { mailbox, address }
  }
  let current = tokens
  try {
    return { identity: await ask(current.accessToken), tokens }
  } catch (error) {
    if (!isRefused(error)) return unreachable(error, current, signal)
  }
  try {
    if (client === undefined) throw new AppError('PROVIDER_NOT_CONFIGURED', { provider: provider.name })
    const grant = await refreshGrant(client, tokens.refreshToken, signal)
    current = {
      accessToken: grant.accessToken,
      refreshToken: grant.refreshToken ?? tokens.refreshToken,
      expiresAtS: toSeconds(clock.wallMs()) + grant.expiresInS,
    }
    return { identity: await ask(current.accessToken), tokens: current }
  } catch (error) {
    if (isRefused(error)) throw new AppError('CREDENTIAL_REFUSED', { reason: 'access_token' }, { cause: error })
    return unreachable(error, current, signal)
  } finally {
    limiter.close()
  }
}

const isRefused = (error: unknown): boolean => error instanceof ProviderError && error.kind === 'auth'

function unreachable(error: unknown, tokens: HandedTokens, signal: AbortSignal): Identified {
  if (error instanceof AppError) throw error
  if (error instanceof GrantError && error.kind === 'reauth')
    throw new AppError('CREDENTIAL_REFUSED', { reason: 'refresh_token' }, { cause: error })
  if (error instanceof GrantError && error.kind === 'config')
    throw new AppError('CREDENTIAL_REFUSED', { reason: 'client' }, { cause: error })
  if (error instanceof ProviderError && error.kind === 'rejected')
    throw new AppError('CREDENTIAL_REFUSED', { reason: 'scope' }, { cause: error })
  signal.throwIfAborted()
  // Anything else is a fault of ours, not of a provider that cannot be reached.
  const isLate = error instanceof DOMException && error.name === 'TimeoutError'
  if (!isLate && !(error instanceof GrantError || error instanceof ProviderError)) throw error
  return { identity: null, tokens }
}
