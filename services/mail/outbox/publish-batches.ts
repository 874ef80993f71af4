/**
 * Batch after batch of one user. While one is on its way, the one before is marked and the next rows are read: server and
 * database would otherwise wait for each other. One is in flight, and expects the sequence of the one before. Marks come
 * after the answer, never before; a crash leaves up to two batches on the stream that are not marked, for the read-back.
 */
import type { OutboxRow } from '../store/outbox-rows.ts'
import { type Batches, batchOf, publishBatch } from './publish-batch.ts'

/** A row whose event the stream has acknowledged. */
export type Acked = { row: OutboxRow; seq: number }

export type BatchHost = {
  batches: Batches
  /** Sequence that the next batch expects; null leaves the expectation out, in control arms of tests. */
  expected(): number | null
  /** Asked before each batch and within it. */
  mayPublish(): boolean
  /** Whether another batch may follow in this turn. */
  goesOn(): boolean
  /** The events are on the stream: the last of them is what is expected next. */
  acked(rows: readonly Acked[]): void
  /** To be awaited before marking and reading: others come between, and what was written to the server leaves. */
  turn(): Promise<void>
  /** Notes that in one transaction; nothing for no rows. */
  mark(rows: readonly Acked[]): void
  /** Rows that are due besides those that are on their way. */
  rest(sent: readonly OutboxRow[]): OutboxRow[]
}

/** Why it ended. What was acknowledged is marked in each case. */
type BatchesEnd =
  | { kind: 'over' }
  /** None of these rows was stored. */
  | { kind: 'refused'; rows: readonly OutboxRow[] }
  /** Of a batch with this row at its head, which may be stored. */
  | { kind: 'unsure'; head: OutboxRow; error: unknown }

/** @throws what marking and reading throw, once there is no batch in flight; then rows may be stored that are not marked */
export async function publishBatches(host: BatchHost, first: readonly OutboxRow[]): Promise<BatchesEnd> {
  const { batches } = host
  const goesOn = (): boolean => batches.areTaken() && host.mayPublish()
  let sent = first
  let acked: readonly Acked[] = []
  for (;;) {
    const [head] = sent
    if (head === undefined) {
      host.mark(acked)
      return { kind: 'over' }
    }
    let rest: OutboxRow[] = []
    const meanwhile = async (): Promise<void> => {
      await host.turn()
      host.mark(acked)
      acked = []
      rest = host.rest(sent)
    }
    const outcome = await publishBatch(batches.link, sent, host.expected(), goesOn, meanwhile)
    if (outcome.kind !== 'stored') {
      // Refused before the rest of it was sent.
      host.mark(acked)
      return outcome.kind === 'refused' ? { ...outcome, rows: sent } : { ...outcome, head }
    }
    acked = sent.map((row, i) => ({ row, seq: outcome.seq + i }))
    host.acked(acked)
    sent = goesOn() && host.goesOn() ? batchOf(rest, batches) : []
  }
}
