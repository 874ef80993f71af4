/** What a take-over asks of the stream, once for all users that are taken over in the same second. */
import type { JetStreamManager } from '@nats-io/jetstream'
import { EVENT_STREAM } from '#shared/subjects.ts'
import type { Clock } from '../base/time.ts'

export type StreamFacts = {
  /** Creation time, epoch ms: a stream made anew has another one. */
  createdMs: number
  /** What stood before it has aged out. */
  firstSeq: number
  lastSeq: number
}

const FRESH_MS = 1_000

/** Whether the stream still has the message at a sequence, as its leader knows. */
export const streamHolds =
  (jsm: JetStreamManager) =>
  async (seq: number): Promise<boolean> =>
    (await jsm.streams.getMessage(EVENT_STREAM, { seq })) !== null

/** @returns a look that is at most a second old. */
export function streamFacts(jsm: JetStreamManager, clock: Clock): () => Promise<StreamFacts> {
  let look: Promise<StreamFacts> | null = null
  let lookedMs = Number.NEGATIVE_INFINITY
  const ask = async (): Promise<StreamFacts> => {
    const { created, state } = await jsm.streams.info(EVENT_STREAM)
    return { createdMs: Date.parse(created), firstSeq: state.first_seq, lastSeq: state.last_seq }
  }
  return () => {
    const nowMs = clock.monoMs()
    if (look !== null && nowMs - lookedMs < FRESH_MS) return look
    lookedMs = nowMs
    const asked = ask()
    look = asked
    asked.catch(() => {
      if (look === asked) look = null
    })
    return asked
  }
}
