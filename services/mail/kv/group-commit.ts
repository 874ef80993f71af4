/**
 * Writes to one stream that are asked for in the same turn of the event loop go as one atomic batch: one write to the
 * server's disk instead of one each. A batch is stored as a whole or refused as a whole; one that was refused says nothing
 * of its parts, so each is sent once more on its own, with its own answer.
 *
 * The client's own batches carry no expectation per message and wait for an answer to the first, so the headers of
 * ADR-50 of NATS are set here.
 */
import type { JetStreamManager } from '@nats-io/jetstream'
import { v7 } from 'uuid'
import { atLeast, headers, type NatsConnection } from '#shared/nats.ts'

const BATCHES_SINCE = '2.12.0'

/** The server keeps at most a thousand; a batch is held in memory there until it is complete. */
const WRITES_MAX = 64
/** What is larger gains nothing from company. */
const BYTES_MAX = 16_384

export type GroupedWrite = { subject: string; data: Uint8Array; lastSeq: number }
/** Answers the sequence under which the write is stored. */
type Alone = () => Promise<number>
type Waiting = { write: GroupedWrite; alone: Alone; settled: PromiseWithResolvers<number> }

export class GroupCommit {
  readonly #nc: NatsConnection
  readonly #timeoutMs: number
  #waiting: Waiting[] = []

  /** @param timeoutMs how long a batch waits for its answer; then it is open for each of its writes whether it was stored */
  constructor(nc: NatsConnection, timeoutMs: number) {
    this.#nc = nc
    this.#timeoutMs = timeoutMs
  }

  /** @param alone how the write is sent when nothing goes with it, or when the batch was refused */
  write(write: GroupedWrite, alone: Alone): Promise<number> {
    if (write.data.length > BYTES_MAX) return alone()
    const settled = Promise.withResolvers<number>()
    if (this.#waiting.length === 0) setImmediate(() => this.#flush())
    this.#waiting.push({ write, alone, settled })
    return settled.promise
  }

  #flush(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const group of groupsOf(waiting)) void this.#send(group)
  }

  async #send(group: readonly Waiting[]): Promise<void> {
    try {
      const last = group.length > 1 ? await this.#commit(group.map(({ write }) => write)) : null
      for (const [i, { alone, settled }] of group.entries())
        settled.resolve(last === null ? alone() : last - (group.length - 1 - i))
    } catch (error) {
      for (const { settled } of group) settled.reject(error)
    }
  }

  /** Answers the sequence of the last one; null when they were refused. */
  async #commit(writes: readonly GroupedWrite[]): Promise<number | null> {
    const id = v7()
    const [last, ...others] = writes.toReversed()
    if (last === undefined) return null
    for (const [i, write] of others.reverse().entries())
      this.#nc.publish(write.subject, write.data, { headers: headersOf(id, i + 1, write.lastSeq) })
    const commit = headersOf(id, writes.length, last.lastSeq)
    commit.set('Nats-Batch-Commit', '1')
    const answer = await this.#nc.request(last.subject, last.data, { headers: commit, timeout: this.#timeoutMs })
    const { error, seq, count } = answer.json<{ error?: unknown; seq?: number; count?: number }>()
    if (error !== undefined) return null
    if (seq === undefined || count !== writes.length)
      throw new Error(`${count} of a batch of ${writes.length} are stored`)
    return seq
  }
}

/** No two writes to one subject in one batch: the second expects what the first has not yet made. */
function groupsOf(waiting: readonly Waiting[]): Waiting[][] {
  const groups: Waiting[][] = []
  let subjects = new Set<string>()
  for (const one of waiting) {
    const group = groups.at(-1)
    if (group === undefined || group.length === WRITES_MAX || subjects.has(one.write.subject)) {
      groups.push([one])
      subjects = new Set([one.write.subject])
    } else {
      group.push(one)
      subjects.add(one.write.subject)
    }
  }
  return groups
}

function headersOf(id: string, sequence: number, lastSeq: number): ReturnType<typeof headers> {
  const found = headers()
  found.set('Nats-Batch-Id', id)
  found.set('Nats-Batch-Sequence', String(sequence))
  found.set('Nats-Expected-Last-Subject-Sequence', String(lastSeq))
  return found
}

/** Whether the stream takes batches, after it was told to. Servers before 2.12 know none. */
export async function takesBatches(nc: NatsConnection, jsm: JetStreamManager, stream: string): Promise<boolean> {
  if (!atLeast(nc.info?.version ?? '0', BATCHES_SINCE)) return false
  const { config } = await jsm.streams.info(stream)
  if (config.allow_atomic === true) return true
  return (await jsm.streams.update(stream, { allow_atomic: true })).config.allow_atomic === true
}
