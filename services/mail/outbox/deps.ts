/** What the parts of the outbox are given and what they tell. Types only. */
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream'
import type { Log } from '#shared/log.ts'
import type { Epoch } from '../base/model.ts'
import type { Clock } from '../base/time.ts'
import type { UserStore } from '../store/user-store.ts'
import type { Batches } from './publish-batch.ts'
import type { Turns } from './turns.ts'

type Parts = {
  js: JetStreamClient
  /** With a request timeout of one to two seconds. */
  jsm: JetStreamManager
  store: UserStore
  clock: Clock
  log: Log
}
export type NewStreamConfig = {
  /** What becomes of published mail when JetStream was lost. */
  onNewStream: 'skip' | 'republish'
  /** How long the stream keeps events, ms; with `republish`, younger mail is published again. */
  retentionMs: number
}
export type ReconcileDeps = Parts & NewStreamConfig

export type ReconcileResult = {
  /** Sequence of the newest message on the subject; 0 when it is empty. The next publish expects it. */
  last: number
  /** Events of ours that were read. */
  readEvents: number
  /** Messages that are no events of ours. */
  foreign: number
  /** Outbox rows that turned out to be on the stream. */
  marked: number
  /** Events that wait again because the stream has lost them. */
  republished: number
  /** The stream was made anew since the last look. */
  streamReset: boolean
  /** The stream had lost acknowledged messages. */
  rolledBack: boolean
}

export type RelayHooks = {
  /** For telemetry: the stream has acknowledged `count` events, `latencyMs` after they were stored. They are marked next. */
  onPublished?(userId: string, count: number, latencyMs: number): void
  /** Everything up to outbox row `lastId` is on the stream. A hint. */
  onDrained?(userId: string, lastId: number): void
  onReconciled?(userId: string, result: ReconcileResult): void
  /** The stream refused an event because something newer stands on the subject, and the term of the user was over. */
  onRefused?(): void
}
export type RelayDeps = Parts & {
  /** @param keepMs how long published rows are kept. */
  config: NewStreamConfig & { keepMs: number }
  /** What several rows of one user go in; without it each goes alone. */
  batches?: Batches
  hooks?: RelayHooks
  /** 0 <= x < 1, for back-offs; Math.random unless given. */
  random?(): number
  /** Switches protections off, so that tests can show what they protect from. Never set in the service. */
  controls?: { expectSequence?: false; expectOfBatch?: false; readBack?: false; compareHanded?: false }
}

export type RunOptions = {
  userId: string
  epoch: Epoch
  /** Asked before each publish; false pauses. */
  owns: () => boolean
  signal: AbortSignal
  /** Newest sequence of the subject, read back at this moment; null = not known. */
  last: number | null
  turns: Turns
  deps: RelayDeps
}

export type RelayStatus = {
  /** Rows that are not on the stream yet. */
  pending: number
  /** When the oldest of them was stored, epoch ms. */
  oldestTsMs: number | null
  /** Why they wait; null when they are under way. */
  error: 'STREAM_FULL' | 'NATS_UNAVAILABLE' | 'DISK_FULL' | null
  /** The stream was found to be new, or to have lost events, since this database was made. */
  streamReset: boolean
  /** Epoch seconds by account; older mail that a walk finds is not published, because it may have been. */
  gaps: Record<string, number>
}
