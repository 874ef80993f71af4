/**
 * Owns the quotas of both providers and the score of politeness: what was used, refused, asked for too much
 * (overdraft) and asked for before an announced time (earlyRetries). Refuses to know what a request is about.
 */
import { googleConcurrency, googleProjectLimit, googleRateLimit, graphThrottled } from './answers.ts'
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
/** Asking again too early moves the time later. */
const PENALTY_MS = 5000

interface MailboxUse {
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
  /** Monotonic ms at which the announcement had been sent; null while it is on its way. */
  announcedAt: number | null
  /** Closed by the quota itself, not by a scripted fault. */
  closed: boolean
  /** The request that is being served came before the announced time. */
  isEarly: boolean
}

interface Books {
  profile: QuotaProfile
  concurrencyGmail: number
  limits: Limits
  accounts: Map<string, Account>
  project: Window
  projectRefused: number
  day: { number: number; units: number }
}

function newAccount(provider: ProviderName): Account {
  const window = provider === 'google' ? createWindow(1000, 60) : createWindow(5000, 120)
  const zero = { total: 0, refused: 0, overdraft: 0, early: 0, inflight: 0, peakInflight: 0, reopensAtMs: 0 }
  return { provider, window, ...zero, announcedAt: null, closed: false, isEarly: false }
}

function announce(account: Account, untilMs: number): void {
  account.reopensAtMs = Math.max(account.reopensAtMs, untilMs)
  account.announcedAt = null
}

function refuse(account: Account, cost: number, untilMs: number): void {
  account.refused++
  account.overdraft += cost
  announce(account, untilMs)
}

function chargeGoogle(books: Books, account: Account, cost: number, now: number): Answer | null {
  const { limits, project } = books
  if (account.inflight > books.concurrencyGmail) {
    account.refused++
    return googleConcurrency()
  }
  if (account.closed && now < account.reopensAtMs) {
    refuse(account, cost, account.reopensAtMs + (account.isEarly ? PENALTY_MS : 0))
    return googleRateLimit(account.reopensAtMs, 'userRateLimitExceeded')
  }
  account.closed = account.window.used(now) + cost > limits.userPerMin
  if (account.closed) {
    refuse(account, cost, account.window.reopensAt(now, cost, limits.userPerMin))
    return googleRateLimit(account.reopensAtMs, 'userRateLimitExceeded')
  }
  if (project.used(now) + cost > limits.projectPerMin) {
    books.projectRefused++
    account.refused++
    account.overdraft += cost
    return googleProjectLimit()
  }
  project.add(now, cost)
  const number = Math.floor(now / 86_400_000)
  books.day = { number, units: (books.day.number === number ? books.day.units : 0) + cost }
  return null
}

function chargeGraph(books: Books, account: Account, cost: number, now: number, parallel: boolean): Answer | null {
  const { graphPer10Min } = books.limits
  if (parallel && account.inflight > GRAPH_CONCURRENCY) {
    refuse(account, cost, now + 1000)
    return graphThrottled(1, 'Application is over its MailboxConcurrency limit.')
  }
  if (account.window.used(now) + cost <= graphPer10Min) return null
  const retryS = Math.max(1, Math.ceil((account.window.reopensAt(now, cost, graphPer10Min) - now) / 1000))
  // Retries during throttling count, so the window stays full for one who hammers.
  account.window.add(now, cost)
  refuse(account, cost, now + retryS * 1000)
  return graphThrottled(retryS, 'Application is over its request limit.')
}

function useOf(account: Account, now: number): MailboxUse {
  const { window, total, refused, overdraft, early, inflight, peakInflight, reopensAtMs } = account
  const use = { used: window.used(now), peak: window.peak(), total, refused, overdraft }
  return { ...use, earlyRetries: early, inflight, peakInflight, reopensAtMs }
}

function snapshotOf(books: Books, now: number): LedgerSnapshot {
  const { profile, limits, project, day, projectRefused } = books
  const all = [...books.accounts.values()]
  const use = { used: project.used(now), peak: project.peak(), limit: limits.projectPerMin }
  return {
    profile,
    mailboxes: Object.fromEntries([...books.accounts].map(([key, account]) => [key, useOf(account, now)])),
    project: { ...use, day: day.units, dayLimit: limits.projectPerDay, refused: projectRefused },
    overdraft: all.reduce((sum, { overdraft }) => sum + overdraft, 0),
    earlyRetries: all.reduce((sum, { early }) => sum + early, 0),
  }
}

export type Ledger = ReturnType<typeof createLedger>

interface LedgerOptions {
  profile: QuotaProfile
  /** Requests that arrive so soon after an announcement were sent before it was read. */
  graceMs: number
  monoMs: () => number
  projectPerMin: number | undefined
  /** Requests of one Gmail mailbox that are served at once; default any number. */
  concurrencyGmail?: number
}

export function createLedger(options: LedgerOptions, clock: Clock) {
  const { profile, graceMs, monoMs, projectPerMin, concurrencyGmail = Number.POSITIVE_INFINITY } = options
  const limits = { ...LIMITS[profile], ...(projectPerMin === undefined ? {} : { projectPerMin }) }
  const day = { number: 0, units: 0 }
  const project = createWindow(1000, 60)
  const books: Books = { profile, concurrencyGmail, limits, accounts: new Map(), project, projectRefused: 0, day }

  const accountOf = (provider: ProviderName, user: string): Account => {
    const key = `${provider}:${user}`
    const account = books.accounts.get(key) ?? newAccount(provider)
    books.accounts.set(key, account)
    return account
  }
  const costOf = (provider: ProviderName, route: string) =>
    provider === 'microsoft' ? 1 : (UNITS[route] ?? limits.get)

  return {
    costOf,
    snapshot: () => snapshotOf(books, clock.now()),

    enter: (provider: ProviderName, user: string): number => {
      const account = accountOf(provider, user)
      account.inflight++
      account.peakInflight = Math.max(account.peakInflight, account.inflight)
      const sentMs = account.announcedAt
      const isTold = sentMs !== null && monoMs() >= sentMs + graceMs
      account.isEarly = isTold && clock.now() < account.reopensAtMs
      if (account.isEarly) account.early++
      return account.inflight
    },

    /** The answer was written. */
    leave: (provider: ProviderName, user: string): void => {
      const account = accountOf(provider, user)
      account.inflight--
      account.announcedAt ??= monoMs()
    },

    /** null = paid; otherwise the provider's refusal. Parts of a batch of Graph do not count as parallel requests. */
    charge: (provider: ProviderName, user: string, route: string, parallel: boolean): Answer | null => {
      const account = accountOf(provider, user)
      const cost = costOf(provider, route)
      const now = clock.now()
      const google = provider === 'google'
      const refusal = google
        ? chargeGoogle(books, account, cost, now)
        : chargeGraph(books, account, cost, now, parallel)
      if (refusal) return refusal
      account.window.add(now, cost)
      account.total += cost
      return null
    },

    /** A scripted fault told this mailbox to wait until then. */
    announce: (provider: ProviderName, user: string, untilMs: number): void =>
      announce(accountOf(provider, user), untilMs),
  }
}
