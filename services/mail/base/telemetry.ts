/**
 * One function per business event: the metric and the log line together, at exactly one call site each.
 * User ids, addresses and subjects of mail never become labels.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import { PROVIDERS } from '#shared/contract.ts'
import { ACCOUNT_ERRORS, type AccountErrorCode } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'
import { collectProcessMetrics, flatMetrics } from '#shared/metrics.ts'
import type { ProviderName } from './model.ts'
import { Rate } from './rate.ts'
import { type Clock, systemClock } from './time.ts'

const BY_PROVIDER = PROVIDERS.map((provider) => ({ provider }))
const OUTCOMES = ['ok', 'reauth', 'config', 'transient'] as const
const STORES = ['sqlite', 'state', 'stream'] as const
const BASES = ['local', 'stale', 'snapshot', 'stream', 'gap', 'new'] as const
const RESETS = ['new', 'rolled_back'] as const
const READ_BACK = ['marked', 'learned', 'foreign', 'republished'] as const
const PUBLISH_BUCKETS_S = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600]

/** What an account is told, and the two other codes that a page fails with; anything else would be a fault of ours. */
const CODES: readonly AccountErrorCode[] = [
  ...(Object.keys(ACCOUNT_ERRORS) as (keyof typeof ACCOUNT_ERRORS)[]),
  'PROVIDER_NOT_CONFIGURED',
  'INTERNAL',
]

const perProvider = (label: string, values: readonly string[]): Record<string, string>[] =>
  BY_PROVIDER.flatMap(({ provider }) => values.map((value) => ({ provider, [label]: value })))
const each = (label: string, values: readonly string[]): Record<string, string>[] =>
  values.map((value) => ({ [label]: value }))

type CounterSpec = { name: string; help: string; from: readonly Record<string, string>[]; labels?: readonly string[] }
/** Every counter, with the labels at which it stands from the start; [] = it has none, or those of `labels`, known later. */
const COUNTERS = {
  stored: { name: 'mail_stored_total', help: 'Mails written to a user database', from: BY_PROVIDER },
  published: { name: 'events_published_total', help: 'Events acknowledged by the stream', from: [] },
  errors: { name: 'sync_errors_total', help: 'Failed pages by what they mean', from: perProvider('code', CODES) },
  refreshes: {
    name: 'token_refreshes_total',
    help: 'Refreshes of access tokens',
    from: perProvider('outcome', OUTCOMES),
  },
  seals: { name: 'token_seals_total', help: 'Values sealed, by the key that seals them', from: [], labels: ['kid'] },
  throttles: { name: 'throttled_total', help: 'Times a provider asked to wait', from: BY_PROVIDER },
  cursors: { name: 'cursor_expired_total', help: 'Times a provider forgot a position', from: BY_PROVIDER },
  skipped: { name: 'items_skipped_total', help: 'Items of a provider without an id', from: BY_PROVIDER },
  gap: {
    name: 'gap_mails_total',
    help: 'Mails that were stored and not published, because they may have been published before a gap',
    from: BY_PROVIDER,
  },
  gone: { name: 'messages_gone_total', help: 'Listed mails that the provider did not find again', from: BY_PROVIDER },
  zombies: {
    name: 'zombie_writes_refused_total',
    help: 'Writes refused by a store because the epoch was over',
    from: each('store', STORES),
  },
  takeovers: {
    name: 'takeovers_total',
    help: 'Users taken over, by what they go on from',
    from: each('base', BASES),
  },
  resets: {
    name: 'stream_resets_total',
    help: 'Users that found a new or older stream',
    from: each('kind', RESETS),
  },
  reconciled: {
    name: 'reconciled_events_total',
    help: 'Events read back from the stream',
    from: each('as', READ_BACK),
  },
  opened: { name: 'database_opens_total', help: 'User databases opened', from: [] },
  committed: { name: 'database_commits_total', help: 'Transactions that wrote to a user database', from: [] },
} as const satisfies Record<string, CounterSpec>

function countersOf(registry: Registry): Record<keyof typeof COUNTERS, Counter> {
  const make = ({ name, help, from, labels = Object.keys(from[0] ?? {}) }: CounterSpec): Counter => {
    const labelNames = [...labels]
    const made = new Counter({ name: `mailsync_${name}`, help, labelNames, registers: [registry] })
    // A counter that begins with its first event shows no rise there: rate() would miss the first error.
    for (const each of from) made.inc(each, 0)
    return made
  }
  return Object.fromEntries(Object.entries(COUNTERS).map(([key, spec]) => [key, make(spec)])) as Record<
    keyof typeof COUNTERS,
    Counter
  >
}

type Rows = Readonly<Record<string, number>>
/** Rows by the name of the key that they need, of each place where tokens are stored. */
type TokenRows = () => Promise<{ accounts: Rows; auth_db: Rows }>
type Level = () => { accounts: Record<string, number>; outboxPending: number; users: number }

/** Values that are read when somebody asks. */
function addLevels(registry: Registry, level: Level, tokenRows: TokenRows): void {
  const registers = [registry]
  new Gauge({
    name: 'mailsync_accounts',
    help: 'Accounts owned by this instance, by state',
    labelNames: ['state'],
    registers,
    collect() {
      this.reset()
      for (const [state, count] of Object.entries(level().accounts)) this.set({ state }, count)
    },
  })
  new Gauge({
    name: 'mailsync_outbox_pending',
    help: 'Outbox rows not yet published',
    registers,
    collect() {
      this.set(level().outboxPending)
    },
  })
  new Gauge({
    name: 'mailsync_users_owned',
    help: 'Users owned by this instance',
    registers,
    collect() {
      this.set(level().users)
    },
  })
  new Gauge({
    name: 'mailsync_token_rows',
    help: 'Stored tokens by the key that opens them, in the bucket and in auth.db of this instance',
    labelNames: ['store', 'kid'],
    registers,
    async collect() {
      const rows = await tokenRows()
      this.reset()
      for (const [store, counts] of Object.entries(rows))
        for (const [kid, count] of Object.entries(counts)) this.set({ store, kid }, count)
    },
  })
}

const tenths = (value: number): number => Math.round(value * 10) / 10

async function byLabel(counter: Counter, label: string): Promise<Record<string, number>> {
  const { values } = await counter.get()
  return Object.fromEntries(values.map(({ labels, value }) => [String(labels[label]), value]))
}

export type Telemetry = ReturnType<typeof createTelemetry>

/**
 * @param level current values that are read when somebody asks: accounts by state, outbox depth, users owned
 * @param tokenRows the same, of stored tokens by key
 */
export function createTelemetry(
  log: Log,
  level: Level,
  tokenRows: TokenRows = async () => ({ accounts: {}, auth_db: {} }),
  clock: Clock = systemClock,
) {
  const registry = new Registry()
  collectProcessMetrics(registry, 'mailsync_')
  const count = countersOf(registry)
  const latency = new Histogram({
    name: 'mailsync_publish_latency_seconds',
    help: 'From commit to acknowledgement of the stream',
    buckets: PUBLISH_BUCKETS_S,
    registers: [registry],
  })
  addLevels(registry, level, tokenRows)
  const [stored, published] = [new Rate(clock), new Rate(clock)]

  return {
    registry,
    /** All samples, as an instance puts them into its STATS. */
    flat: () => flatMetrics(registry),
    mailStored(provider: ProviderName, mails: number): void {
      count.stored.inc({ provider }, mails)
      stored.add(mails)
    },
    eventsPublished(events: number, latencyMs: number): void {
      count.published.inc(events)
      published.add(events)
      latency.observe(latencyMs / 1000)
    },
    syncFailed: (provider: ProviderName, code: AccountErrorCode): void => count.errors.inc({ provider, code }),
    tokenRefreshed: (provider: ProviderName, outcome: (typeof OUTCOMES)[number]): void =>
      count.refreshes.inc({ provider, outcome }),
    /** A key must not seal more than 2^32 values: of random IVs two may then be the same. */
    tokenSealed: (kid: string, values = 1): void => count.seals.inc({ kid }, values),
    throttled: (provider: ProviderName): void => count.throttles.inc({ provider }),
    cursorExpired: (provider: ProviderName): void => count.cursors.inc({ provider }),
    itemsSkipped(provider: ProviderName, items: number): void {
      count.skipped.inc({ provider }, items)
      log.error({ provider, items }, 'items without an id were passed over')
    },
    gapMails(provider: ProviderName, mails: number): void {
      count.gap.inc({ provider }, mails)
      log.warn({ provider, mails }, 'mails from before the gap were stored and not published')
    },
    messagesGone: (provider: ProviderName, mails: number): void => count.gone.inc({ provider }, mails),
    zombieRefused(store: (typeof STORES)[number]): void {
      count.zombies.inc({ store })
      log.warn({ store }, 'a write of a past epoch was refused')
    },
    takenOver: (base: (typeof BASES)[number]): void => count.takeovers.inc({ base }),
    streamReset(kind: (typeof RESETS)[number]): void {
      count.resets.inc({ kind })
      log.error({ kind }, 'the stream is not the one that was written to')
    },
    reconciled: (as: (typeof READ_BACK)[number], events: number): void => {
      if (events > 0) count.reconciled.inc({ as }, events)
    },
    databaseOpened: (): void => count.opened.inc(),
    databaseCommitted: (): void => count.committed.inc(),
    /** What a look at the fleet shows of them. */
    figures: async () => ({
      rates: { mails_stored_per_s: tenths(stored.perSecond()), events_published_per_s: tenths(published.perSecond()) },
      zombie_writes_refused: await byLabel(count.zombies, 'store'),
      takeovers: await byLabel(count.takeovers, 'base'),
    }),
  }
}
