/**
 * Publishing with the guarantees of the service and nothing else: the event id as `Nats-Msg-Id`, and the expected last
 * sequence of the subject. Where the server has atomic batches, many go as one; elsewhere each waits for the one before.
 */
import { headers } from '#shared/nats.ts'
import type { Ground } from './job.ts'

export type Outgoing = { msgId: string; payload: Uint8Array }

/** Mails of one transaction, and of one batch that is published: as many as the service takes. */
export const TOGETHER = 100
const TIMEOUT_MS = 10_000
let batches = 0

/** @returns the sequence of each. @throws Error when the expectation was refused, or anything else went wrong */
export async function publishAll(
  { nc, js, atomic }: Pick<Ground, 'nc' | 'js' | 'atomic'>,
  subject: string,
  rows: readonly Outgoing[],
  last: number,
): Promise<number[]> {
  if (atomic && rows.length > 1) return await publishBatch(nc, subject, rows, last)
  const seqs: number[] = []
  for (const { msgId, payload } of rows) {
    const lastSubjectSequence = seqs.at(-1) ?? last
    const { seq } = await js.publish(subject, payload, { msgID: msgId, expect: { lastSubjectSequence } })
    seqs.push(seq)
  }
  return seqs
}

async function publishBatch(nc: Ground['nc'], subject: string, rows: readonly Outgoing[], last: number) {
  const batch = `bench-${process.pid}-${batches++}`
  const commit = rows.length - 1
  let answer: Promise<{ json<T>(): T }> | undefined
  for (const [i, { msgId, payload }] of rows.entries()) {
    const own = headers()
    own.set('Nats-Msg-Id', msgId)
    own.set('Nats-Batch-Id', batch)
    own.set('Nats-Batch-Sequence', String(i + 1))
    // The others are stored right behind it or not at all.
    if (i === 0) own.set('Nats-Expected-Last-Subject-Sequence', String(last))
    if (i < commit) nc.publish(subject, payload, { headers: own })
    else {
      own.set('Nats-Batch-Commit', '1')
      answer = nc.request(subject, payload, { headers: own, timeout: TIMEOUT_MS })
    }
  }
  const { seq, count, error } = (await answer)?.json<{ seq?: number; count?: number; error?: object }>() ?? {}
  if (seq === undefined || count !== rows.length) throw new Error(`a batch was refused: ${JSON.stringify(error)}`)
  return rows.map((_, i) => seq - (commit - i))
}
