/**
 * A run of rows of one user as one atomic batch, and what its answer means: all of them stand on the subject, one directly
 * behind the other, or none does. The first names the sequence that is expected before it, which the server compares when
 * the batch is complete; what follows stands behind the first and needs no expectation. It never retries.
 */
import { AtomicBatch, type BatchLink } from '../kv/atomic-batch.ts'
import type { OutboxRow } from '../store/outbox-rows.ts'
import { ANSWER_TIMEOUT_MS, isTooLarge } from './publish.ts'

export type Batches = {
  link: BatchLink
  /** Whether the server that is connected and its stream take batches, at this moment. */
  areTaken(): boolean
  /** Two or more: fewer rows go one by one. */
  fewest: number
  /** Rows of one batch at most. */
  most: number
}
/** A batch costs the server a file of its own: fewer rows are there sooner one by one. */
export const FEWEST_ROWS = 8
/** Rows per turn, per batch and per mark. */
export const ROWS = 100

type BatchPublished =
  /** `seq` of the first; each of the others has the next. */
  | { kind: 'stored'; seq: number }
  /** Says nothing of its parts; none of them is taken for stored. */
  | { kind: 'refused' }
  /** No answer, or one that says nothing about the batch: it may be stored. */
  | { kind: 'unsure'; error: unknown }

/** Payloads of one batch: the server holds them in memory, and stores nothing else meanwhile. */
const BYTES_MAX = 512 * 1024

/** The rows from the head on that may go as one batch, none of which has to be mended first; none when they are too few. */
export function batchOf(rows: readonly OutboxRow[], { fewest, most }: Pick<Batches, 'fewest' | 'most'>): OutboxRow[] {
  let bytes = 0
  const end = rows.findIndex(({ intact, payload }, i) => {
    bytes += payload.length
    return !intact || bytes > BYTES_MAX || i === most
  })
  const together = rows.slice(0, end < 0 ? rows.length : end)
  return together.length < fewest ? [] : together
}

/**
 * Publishes all of them, each with its event id as `Nats-Msg-Id`, if the newest message on the subject is still at `last`.
 * @param rows two at least
 * @param last null leaves the expectation out: only for the control arms of tests
 * @param goesOn asked once more when the first is held by the server: before the others are sent nothing is stored
 * @param meanwhile begun when all of it was sent
 * @throws what `meanwhile` throws, when it has ended and the answer is there or overdue
 */
export async function publishBatch(
  link: BatchLink,
  rows: readonly OutboxRow[],
  last: number | null,
  goesOn: () => boolean,
  meanwhile: () => Promise<void>,
): Promise<BatchPublished> {
  const [first, ...others] = rows.map(({ subject, msgId, payload }) => ({ subject, msgId, data: payload }))
  const newest = others.pop()
  if (first === undefined || newest === undefined) throw new Error('a batch has two rows at least')
  const batch = new AtomicBatch(link, ANSWER_TIMEOUT_MS)
  try {
    if (!(await batch.begin({ ...first, ...(last === null ? {} : { lastSeq: last }) }))) return { kind: 'refused' }
    // Another server may be connected now. One that knows no batches would store each of the others, whatever stands there.
    if (!goesOn()) return { kind: 'refused' }
    for (const each of others) batch.add(each)
  } catch (error) {
    return notAnswered(error)
  }
  const [answer, work] = await Promise.allSettled([batch.commit(newest), meanwhile()])
  if (work.status === 'rejected') throw work.reason
  if (answer.status === 'rejected') return notAnswered(answer.reason)
  return answer.value === null ? { kind: 'refused' } : { kind: 'stored', seq: answer.value - rows.length + 1 }
}

/** One that the client does not send at all: what was sent before it is thrown away by the server. */
const notAnswered = (error: unknown): BatchPublished =>
  isTooLarge(error) ? { kind: 'refused' } : { kind: 'unsure', error }
