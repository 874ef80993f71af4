/** Takes messages out of a stream so that no byte of them stays in its files: what a purge or a newer value leaves there. */
import { JetStreamApiError, type JetStreamManager } from '@nats-io/jetstream'

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
    const found: number[] = []
    while (found.length < PARALLEL) {
      signal?.throwIfAborted()
      // Known to every server that we take; the type of the library knows it for direct gets only.
      const query = { seq: next, next_by_subj: subjects }
      const message = await jsm.streams.getMessage(stream, query)
      if (message === null || message.seq > upTo) break
      found.push(message.seq)
      next = message.seq + 1
    }
    await Promise.all(found.map((seq) => eraseMessage(jsm, stream, seq)))
    erased += found.length
    if (found.length < PARALLEL) return erased
  }
}

/** Nothing happens when it is gone. */
export async function eraseMessage(jsm: JetStreamManager, stream: string, seq: number): Promise<void> {
  try {
    await jsm.streams.deleteMessage(stream, seq, true)
  } catch (error) {
    // Servers answer with one code whatever went wrong.
    if (!(error instanceof JetStreamApiError) || (await jsm.streams.getMessage(stream, { seq })) !== null) throw error
  }
}
