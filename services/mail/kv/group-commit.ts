/**
 * Writes to one stream that are asked for in the same turn of the event loop go as one atomic batch: one write to the
 * server's disk instead of one each. A batch is stored as a whole or refused as a whole; one that was refused says nothing
 * of its parts, so each is sent once more on its own, with its own answer. No answer to the first is waited for: each has an
 * expectation of its own.
 */
import { AtomicBatch, type BatchedWrite, type BatchLink } from './atomic-batch.ts'

/** The server keeps at most a thousand; a batch is held in memory there until it is complete. */
const WRITES_MAX = 64
/** What is larger gains nothing from company. */
const BYTES_MAX = 16_384

export type GroupedWrite = BatchedWrite & { lastSeq: number }
/** Answers the sequence under which the write is stored. */
type Alone = () => Promise<number>
type Waiting = { write: GroupedWrite; alone: Alone; settled: PromiseWithResolvers<number> }

export class GroupCommit {
  readonly #link: BatchLink
  readonly #timeoutMs: number
  #waiting: Waiting[] = []

  /** @param timeoutMs how long a batch waits for its answer; then it is open for each of its writes whether it was stored */
  constructor(link: BatchLink, timeoutMs: number) {
    this.#link = link
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
    const last = writes.at(-1)
    if (last === undefined) return null
    const batch = new AtomicBatch(this.#link, this.#timeoutMs)
    for (const write of writes.slice(0, -1)) batch.add(write)
    return await batch.commit(last)
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
