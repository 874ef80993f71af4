/** Takes messages out of a stream so that no byte of them stays in its files: what a purge or a newer value leaves there. */
import { JetStreamApiError, type JetStreamManager, type StoredMsg } from '@nats-io/jetstream'

/** The server writes a part of a file anew for each; several at a time share that. */
const PARALLEL = 16

/**
 * Erases what stands on the subjects, wildcards allowed, up to a sequence. May be cut off and repeated.
 * @returns how many messages
 */
export async function eraseMessages(
  jsm: JetStreamManager,
  stream: string,
  subjects: string,
  upTo: number,
  signal?: AbortSignal,
): Promise<number> {
  for (let [next, erased] = [1, 0]; ; ) {
    const found: StoredMsg[] = []
    while (found.length < PARALLEL) {
      signal?.throwIfAborted()
      // Known to every server that we take; the type of the library knows it for direct gets only.
      const query = { seq: next, next_by_subj: subjects }
      const message = await jsm.streams.getMessage(stream, query)
      if (message === null || message.seq > upTo) break
      found.push(message)
      next = message.seq + 1
    }
    await Promise.all(
      found.map(({ seq, subject }) => eraseIf(jsm, stream, seq, async (now) => now.subject === subject)),
    )
    erased += found.length
    if (found.length < PARALLEL) return erased
  }
}

/**
 * Erases a message behind which a newer one stands on its subject. Nothing happens when it is gone, the newest, or of another
 * subject by now.
 * @param connection another string after each reconnect: what was read before it says nothing of what stands there after it
 */
export async function eraseOverwritten(
  jsm: JetStreamManager,
  stream: string,
  { subject, seq }: { subject: string; seq: number },
  connection: () => string,
): Promise<void> {
  const before = connection()
  await eraseIf(jsm, stream, seq, async (now) => {
    const newest = await jsm.streams.getMessage(stream, { last_by_subj: subject })
    return now.subject === subject && newest !== null && newest.seq > seq && connection() === before
  })
}

/**
 * A server that went back gives sequences out anew, to whomever: so each is read once more, and deleted with the answer. The
 * client would keep a request that it makes while it has no link, and send it to whichever server comes back.
 */
async function eraseIf(
  jsm: JetStreamManager,
  stream: string,
  seq: number,
  isMeant: (now: StoredMsg) => Promise<boolean>,
): Promise<void> {
  const now = await jsm.streams.getMessage(stream, { seq })
  if (now === null || !(await isMeant(now))) return
  try {
    await jsm.streams.deleteMessage(stream, seq, true)
  } catch (error) {
    // Servers answer with one code whatever went wrong.
    if (!(error instanceof JetStreamApiError) || (await jsm.streams.getMessage(stream, { seq })) !== null) throw error
  }
}
