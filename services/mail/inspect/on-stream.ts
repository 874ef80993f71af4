/** Whether an event stands on the user's subject, and where. It reads single messages and believes only its own eyes. */

import type { WhyAnswer } from '#shared/inspect.ts'
import type { Log } from '#shared/log.ts'
import { ownEvent } from '../outbox/own-event.ts'
import type { LogMessage, SubjectLog } from '../outbox/subject-log.ts'
import type { Trace } from '../store/trace.ts'

export type OnStream = Extract<WhyAnswer, { is: 'stored' }>['stream']
export type SubjectReader = Pick<SubjectLog, 'subject' | 'at' | 'next'>

export async function onStream(userId: string, trace: Trace, subjectLog: SubjectReader, log: Log): Promise<OnStream> {
  const { seq, outbox, eventId, lastSeq } = trace
  const isIt = (message: LogMessage | null): message is LogMessage =>
    message?.subject === subjectLog.subject && ownEvent(userId, message.data)?.event_id === eventId
  const waits = outbox !== null && outbox.publishedAt === null
  try {
    // It may be there although nobody has heard of it: it was published, and the answer was lost.
    const found = waits
      ? await subjectLog.next(lastSeq + 1)
      : seq === null || seq === 0
        ? null
        : await subjectLog.at(seq)
    if (isIt(found)) return { is: 'on_stream', sequence: found.seq }
  } catch (error) {
    log.debug({ err: error }, 'the stream cannot be read')
    return { is: 'unknown', sequence: seq === 0 ? null : seq }
  }
  if (waits) return { is: 'waiting', sequence: null }
  return seq === null || seq === 0 ? { is: 'not_published', sequence: null } : { is: 'gone', sequence: seq }
}
