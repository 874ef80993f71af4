/**
 * Owns the quotas of both providers and the score of politeness: what was used, refused, asked for too much
 * (overdraft) and asked for before an announced time (earlyRetries). Refuses to know what a request is about.
 */
import { googleProjectLimit, googleRateLimit, graphThrottled } from './answers.ts'
import type { Answer, Clock, ProviderName, QuotaProfile } from './types.ts'
import { createWindow, type Window } from './window.ts'

interface Limits {
  userPerMin: number
  projectPerMin: number
  projectPerDay: number
  get: number
  graphPer10Min: number
}

const LIMITS: Record<QuotaProfile, Limits> = {
  '2026-05': { userPerMin: 6000, projectPerMin: 1_200_000, projectPerDay: 80_000_000, get: 20, graphPer10Min: 10_000 },
  legacy: { userPerMin: 15_000, projectPerMin: 1_200_000, projectPerDay: 80_000_000, get: 5, graphPer10Min: 10_000 },
  fast: {
    userPerMin: 600_000,
    projectPerMin: 60_000_000,
    projectPerDay: 80_000_000_000,
    get: 20,
    graphPer10Min: 600_000,
  },
}
const UNITS: Record<string, number> = {
  'gmail.profile': 1,
  'gmail.labels.list': 1,
  'gmail.labels.get': 1,
  'gmail.history.list': 2,
  'gmail.messages.list': 5,
  'gmail.messages.modify': 5,
  'gmail.messages.trash': 5,
  'gmail.messages.untrash': 5,
  'gmail.messages.delete': 10,
  'gmail.messages.insert': 25,
  'gmail.watch': 100,
  'gmail.stop': 50,
}
const GRAPH_CONCURRENCY = 4
const PENALTY_MS = 5000

export interface MailboxUse {
  /** Units (Google) in the last minute, requests (Microsoft) in the last ten. */
  used: number
  peak: number
  total: number
  refused: number
  overdraft: number
  earlyRetries: number
  inflight: number
  peakInflight: number
  /** Epoch ms of the simulator's clock before which nothing may be asked; 0 = open. */
  reopensAtMs: number
}

export interface LedgerSnapshot {
  profile: QuotaProfile
  /** Keyed by `provider:user`. */
  mailboxes: Record<string, MailboxUse>
  project: { used: number; peak: number; limit: number; day: number; dayLimit: number; refused: number }
  overdraft: number
  earlyRetries: number
}

interface Account {
  provider: ProviderName
  window: Window
  total: number
  refused: number
  overdraft: number
  early: number
  inflight: number
  peakInflight: number
  reopensAtMs: number
  /** Real time (monotonic ms) at which the announcement had been sent; null while it is on its way. */
  announcedAt: number | null
  /** Closed by the quota itself, not by a scripted fault. */
  closed: boolean
}

export type Ledger = ReturnType<typeof createLedger>

/** `graceMs`: requests that arrive so soon after an announcement were sent before it was read. */
export function createLedger(profile: QuotaProfile, clock: Clock, graceMs: number) {
  const limits = LIMITS[profile]
  const accounts = new Map<string, Account>()
  const project = createWindow(1000, 60)
  let projectRefused = 0
  let day = { number: 0, units: 0 }

  const accountOf = (provider: ProviderName, user: string): Account => {
    const key = `${provider}:${user}`
    const window = () => (provider === 'google' ? createWindow(1000, 60) : createWindow(5000, 120))
    const zero = { total: 0, refused: 0, overdraft: 0, early: 0, inflight: 0, peakInflight: 0, reopensAtMs: 0 }
    const account = accounts.get(key) ?? { provider, window: window(), ...zero, announcedAt: null, closed: false }
    accounts.set(key, account)
    return account
  }

  const announce = (account: Account, untilMs: number): void => {
    account.reopensAtMs = Math.max(account.reopensAtMs, untilMs)
    account.announcedAt = null
  }

  const costOf = (provider: ProviderName, route: string) =>
    provider === 'microsoft' ? 1 : (UNITS[route] ?? limits.get)

  const refuse = (account: Account, cost: number): void => {
    account.refused++
    account.overdraft += cost
  }

  const chargeGoogle = (account: Account, cost: number, now: number): Answer | null => {
    if (account.closed && now < account.reopensAtMs) {
      refuse(account, cost)
      announce(account, account.reopensAtMs + PENALTY_MS)
      return googleRateLimit(account.reopensAtMs, 'userRateLimitExceeded')
    }
    account.closed = false
    if (account.window.used(now) + cost > limits.userPerMin) {
      refuse(account, cost)
      announce(account, account.window.reopensAt(now, cost, limits.userPerMin))
      account.closed = true
      return googleRateLimit(account.reopensAtMs, 'userRateLimitExceeded')
    }
    if (project.used(now) + cost > limits.projectPerMin) {
      projectRefused++
      account.refused++
      return googleProjectLimit()
    }
    project.add(now, cost)
    const number = Math.floor(now / 86_400_000)
    day = { number, units: (day.number === number ? day.units : 0) + cost }
    return null
  }

  const chargeGraph = (account: Account, cost: number, now: number, parallel: boolean): Answer | null => {
    if (parallel && account.inflight > GRAPH_CONCURRENCY) {
      refuse(account, cost)
      announce(account, now + 1000)
      return graphThrottled(1, 'Application is over its MailboxConcurrency limit.')
    }
    if (account.window.used(now) + cost <= limits.graphPer10Min) return null
    refuse(account, cost)
    const retryS = Math.max(1, Math.ceil((account.window.reopensAt(now, cost, limits.graphPer10Min) - now) / 1000))
    // Retries during throttling count, so the window stays full for one who hammers.
    account.window.add(now, cost)
    announce(account, now + retryS * 1000)
    return graphThrottled(retryS, 'Application is over its request limit.')
  }

  return {
    costOf,

    enter: (provider: ProviderName, user: string): number => {
      const account = accountOf(provider, user)
      account.inflight++
      account.peakInflight = Math.max(account.peakInflight, account.inflight)
      const sentMs = account.announcedAt
      if (clock.now() < account.reopensAtMs && sentMs !== null && performance.now() >= sentMs + graceMs) account.early++
      return account.inflight
    },

    /** The answer was written. */
    leave: (provider: ProviderName, user: string): void => {
      const account = accountOf(provider, user)
      account.inflight--
      account.announcedAt ??= performance.now()
    },

    /** null = paid; otherwise the provider's refusal. Parts of a batch do not count as parallel requests. */
    charge: (provider: ProviderName, user: string, route: string, parallel: boolean): Answer | null => {
      const account = accountOf(provider, user)
      const cost = costOf(provider, route)
      const now = clock.now()
      const refusal =
        provider === 'google' ? chargeGoogle(account, cost, now) : chargeGraph(account, cost, now, parallel)
      if (refusal) return refusal
      account.window.add(now, cost)
      account.total += cost
      return null
    },

    /** A scripted fault told this mailbox to wait until then. */
    announce: (provider: ProviderName, user: string, untilMs: number): void =>
      announce(accountOf(provider, user), untilMs),

    snapshot: (): LedgerSnapshot => {
      const now = clock.now()
      const mailboxes: Record<string, MailboxUse> = {}
      for (const [key, account] of accounts) {
        const { total, refused, overdraft, inflight, peakInflight, reopensAtMs } = account
        const use = { used: account.window.used(now), peak: account.window.peak(), total, refused, overdraft }
        mailboxes[key] = { ...use, earlyRetries: account.early, inflight, peakInflight, reopensAtMs }
      }
      const all = [...accounts.values()]
      return {
        profile,
        mailboxes,
        project: {
          used: project.used(now),
          peak: project.peak(),
          limit: limits.projectPerMin,
          day: day.units,
          dayLimit: limits.projectPerDay,
          refused: projectRefused,
        },
        overdraft: all.reduce((sum, { overdraft }) => sum + overdraft, 0),
        earlyRetries: all.reduce((sum, { early }) => sum + early, 0),
      }
    },
  }
}
