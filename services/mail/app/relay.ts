/** The relay out of its parts, its outcomes into metrics, and the switches that control arms use. */
import type { Log } from '#shared/log.ts'
import type { Config } from '../base/config.ts'
import type { Telemetry } from '../base/telemetry.ts'
import type { Clock } from '../base/time.ts'
import { Relay } from '../outbox/relay.ts'
import type { UserStore } from '../store/user-store.ts'
import type { Broker } from './broker.ts'

/** Protections that a test may switch off to show what they protect from. Never set in production. */
export type Controls = {
  expectSequence?: false
  readBack?: false
  earlyCheckpoint?: true
  /** Transactions of a past term are not refused by the user's database. */
  compareEpochs?: false
  /** Checkpoints of a past term replace those of the present one. */
  compareCheckpoints?: false
  /** A term is trusted for ever once a heartbeat was acknowledged. */
  endTerms?: false
  /** An audit takes everything for known. */
  auditCompares?: false
}

export type RelayParts = {
  broker: Broker
  store: UserStore
  clock: Clock
  log: Log
  telemetry: Telemetry
  config: Config
  controls: Controls
  /** Mail of the user was read back from the stream, or the stream is not what it was. */
  learned(userId: string): void
}

export function createRelay({ broker, store, clock, log, telemetry, config, controls, learned }: RelayParts): Relay {
  return new Relay({
    js: broker.js,
    jsm: broker.jsm,
    batches: broker.batches,
    store,
    clock,
    log,
    config: {
      onNewStream: config.outbox.onNewStream,
      keepMs: config.outbox.keepMs,
      retentionMs: config.outbox.retentionDays * 86_400_000,
    },
    hooks: {
      onPublished: (_userId, count, latencyMs) => telemetry.eventsPublished(count, latencyMs),
      onReconciled: (userId, result) => {
        if (result.readEvents > 0 || result.streamReset || result.rolledBack) learned(userId)
        telemetry.reconciled('learned', result.readEvents)
        telemetry.reconciled('marked', result.marked)
        telemetry.reconciled('foreign', result.foreign)
        telemetry.reconciled('republished', result.republished)
        if (result.streamReset) telemetry.streamReset('new')
        if (result.rolledBack) telemetry.streamReset('rolled_back')
      },
      onRefused: () => telemetry.zombieRefused('stream'),
    },
    controls: {
      ...(controls.expectSequence === undefined ? {} : { expectSequence: false }),
      ...(controls.readBack === undefined ? {} : { readBack: false }),
    },
  })
}
