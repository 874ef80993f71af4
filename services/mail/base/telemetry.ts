/**
 * One function per business event: the metric and the log line together, at exactly one call site each.
 * User ids, addresses and subjects of mail never become labels.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import { PROVIDERS } from '#shared/contract.ts'
import { ACCOUNT_ERRORS, type AccountErrorCode } from '#shared/errors.ts'
import type { Log } from '#shared/log.ts'
import type { ProviderName } from './model.ts'

const BY_PROVIDER = PROVIDERS.map((provider) => ({ provider }))
const OUTCOMES = ['ok', 'reauth', 'config', 'transient'] as const
const STORES = ['sqlite', 'state', 'stream'] as const
const BASES = ['local', 'stale', 'lost', 'new'] as const
const RESETS = ['new', 'rolled_back'] as const
const READ_BACK = ['marked', 'learned', 'foreign', 'republished'] as const
const PUBLISH_BUCKETS_S = [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600]

/** What an account is told, and the two other codes that a page fails with; anything else would be a fault of ours. */
const CODES: readonly AccountErrorCode[] = [
  ...(Object.keys(ACCOUNT_ERRORS) as (keyof typeof ACCOUNT_ERRORS)[]),
  'PROVIDER_NOT_CONFIGURED',
  'INTERNAL',
]

type Labels<L extends string> = Partial<Record<L, string>>
const perProvider = <L extends string>(label: L, values: readonly string[]): Labels<L | 'provider'>[] =>
  BY_PROVIDER.flatMap(({ provider }) => values.map((value) => ({ provider, [label]: value }) as Labels<L | 'provider'>))

export type Telemetry = ReturnType<typeof createTelemetry>

/** @param level current values that are read when somebody asks: accounts by state, outbox depth, users owned. */
export function createTelemetry(
  log: Log,
  level: () => { accounts: Record<string, number>; outboxPending: number; users: number },
) {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry, prefix: 'mailsync_' })
  const counter = <L extends string>(name: string, help: string, labelNames: L[], from: Labels<L>[]): Counter<L> => {
    const made = new Counter({ name: `mailsync_${name}`, help, labelNames, registers })
    // A counter that begins with its first event shows no rise there: rate() would miss the first error.
    for (const labels of from) made.inc(labels, 0)
    return made
  }

  const stored = counter('mail_stored_total', 'Mails written to a user database', ['provider'], BY_PROVIDER)
  const published = counter('events_published_total', 'Events acknowledged by the stream', [], [])
  const errors = counter(
    'sync_errors_total',
    'Failed pages by what they mean',
    ['provider', 'code'],
    perProvider('code', CODES),
  )
  const refreshes = counter(
    'token_refreshes_total',
    'Refreshes of access tokens',
    ['provider', 'outcome'],
    perProvider('outcome', OUTCOMES),
  )
  const throttles = counter('throttled_total', 'Times a provider asked to wait', ['provider'], BY_PROVIDER)
  const cursors = counter('cursor_expired_total', 'Times a provider forgot a position', ['provider'], BY_PROVIDER)
  const skipped = counter('items_skipped_total', 'Items of a provider without an id', ['provider'], BY_PROVIDER)
  const gone = counter(
    'messages_gone_total',
    'Listed mails that the provider did not find again',
    ['provider'],
    BY_PROVIDER,
  )
  const zombies = counter(
    'zombie_writes_refused_total',
    'Writes refused by a store because the epoch was over',
    ['store'],
    STORES.map((store) => ({ store })),
  )
  const takeovers = counter(
    'takeovers_total',
    'Users taken over, by what their database was',
    ['base'],
    BASES.map((base) => ({ base })),
  )
  const resets = counter(
    'stream_resets_total',
    'Users that found a new or older stream',
    ['kind'],
    RESETS.map((kind) => ({ kind })),
  )
  const reconciled = counter(
    'reconciled_events_total',
    'Events read back from the stream',
    ['as'],
    READ_BACK.map((as) => ({ as })),
  )
  const latency = new Histogram({
    name: 'mailsync_publish_latency_seconds',
    help: 'From commit to acknowledgement of the stream',
    buckets: PUBLISH_BUCKETS_S,
    registers,
  })
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

  return {
    registry,
    mailStored: (provider: ProviderName, count: number): void => stored.inc({ provider }, count),
    eventsPublished(count: number, latencyMs: number): void {
      published.inc(count)
      latency.observe(latencyMs / 1000)
    },
    syncFailed: (provider: ProviderName, code: AccountErrorCode): void => errors.inc({ provider, code }),
    tokenRefreshed: (provider: ProviderName, outcome: (typeof OUTCOMES)[number]): void =>
      refreshes.inc({ provider, outcome }),
    throttled: (provider: ProviderName): void => throttles.inc({ provider }),
    cursorExpired: (provider: ProviderName): void => cursors.inc({ provider }),
    itemsSkipped(provider: ProviderName, count: number): void {
      skipped.inc({ provider }, count)
      log.error({ provider, count }, 'items without an id were passed over')
    },
    messagesGone: (provider: ProviderName, count: number): void => gone.inc({ provider }, count),
    zombieRefused(store: (typeof STORES)[number]): void {
      zombies.inc({ store })
      log.warn({ store }, 'a write of a past epoch was refused')
    },
    takenOver: (base: (typeof BASES)[number]): void => takeovers.inc({ base }),
    streamReset(kind: (typeof RESETS)[number]): void {
      resets.inc({ kind })
      log.error({ kind }, 'the stream is not the one that was written to')
    },
    reconciled: (as: (typeof READ_BACK)[number], count: number): void => {
      if (count > 0) reconciled.inc({ as }, count)
    },
  }
}
