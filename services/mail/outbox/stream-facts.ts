/** What a take-over asks of the stream, once for all users that are taken over in the same second. */
import type { JetStreamManager } from '@nats-io/jetstream'
import { EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import type { Clock } from '../base/time.ts'
import { ownEvent } from './own-event.ts'

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

/** What stands at a sequence, as the stream's leader knows: whether on the user's subject, and the id of an event of ours. */
export type Standing = { isOfUser: boolean; eventId: string | null }

/** Null when there is no message at the sequence. */
export const eventAt =
  (jsm: JetStreamManager) =>
  async (userId: string, seq: number): Promise<Standing | null> => {
    const message = await jsm.streams.getMessage(EVENT_STREAM, { seq })
    if (message === null) return null
    const isOfUser = message.subject === eventSubject(userId)
    return { isOfUser, eventId: isOfUser ? (ownEvent(userId, message.data)?.event_id ?? null) : null }
  }

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
