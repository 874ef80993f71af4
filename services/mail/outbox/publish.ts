/** One publish of one row, and what its answer means. It never retries: a repetition is decided by who read the stream. */
import { JetStreamApiError, type JetStreamClient } from '@nats-io/jetstream'

export type Published =
  | { kind: 'stored'; seq: number }
  /** The broker knows this event already, at `seq`: the subject has to be read back. */
  | { kind: 'duplicate'; seq: number }
  /** Something newer stands on the subject than we know: it has to be read back. */
  | { kind: 'behind'; error: unknown }
  /** The stream takes nothing at the moment; the event was not stored. */
  | { kind: 'full'; error: unknown }
  /** Larger than the server or the stream allows; the event was not stored. */
  | { kind: 'too_large'; error: unknown }
  /** No answer, or one that says nothing about the event: it may be stored. */
  | { kind: 'unsure'; error: unknown }

/** How long an answer of the stream is waited for. */
export const ANSWER_TIMEOUT_MS = 2_000
/** Wrong last sequence, of the subject or unknown. */
const BEHIND = new Set([10071, 10164])
/** Stream or account at its limit. */
const FULL = new Set([10077, 10047, 10002, 10023])
const TOO_LARGE = new Set([10054])

/**
 * Publishes with the event id as `Nats-Msg-Id`, if the newest message on the subject is still at `last`.
 * @param last null leaves the expectation out: only for the control arms of tests.
 */
export async function publish(
  js: JetStreamClient,
  row: { subject: string; msgId: string; payload: Uint8Array },
  last: number | null,
): Promise<Published> {
  try {
    const ack = await js.publish(row.subject, row.payload, {
      msgID: row.msgId,
      timeout: ANSWER_TIMEOUT_MS,
      ...(last === null ? {} : { expect: { lastSubjectSequence: last } }),
    })
    return { kind: ack.duplicate ? 'duplicate' : 'stored', seq: ack.seq }
  } catch (error) {
    return { kind: kindOf(error), error }
  }
}

/** The client does not send what is larger than the server takes. */
export const isTooLarge = (error: unknown): boolean => error instanceof Error && /max_payload/.test(error.message)

function kindOf(error: unknown): 'behind' | 'full' | 'too_large' | 'unsure' {
  if (!(error instanceof JetStreamApiError)) return isTooLarge(error) ? 'too_large' : 'unsure'
  if (BEHIND.has(error.code)) return 'behind'
  if (FULL.has(error.code)) return 'full'
  return TOO_LARGE.has(error.code) ? 'too_large' : 'unsure'
}
