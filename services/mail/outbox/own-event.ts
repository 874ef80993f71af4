/** Telling an event of ours from what else may stand on a user's subject. It never throws at what it reads. */
import * as v from 'valibot'
import { EmailReceived, eventId } from '#shared/event.ts'

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The event in a message of this user's subject; null when it is malformed, of another user, or its id is not that of
 * the mail that it names. Such a message says nothing about what was published.
 */
export function ownEvent(userId: string, data: Uint8Array): EmailReceived | null {
  const parsed = v.safeParse(EmailReceived, parseJson(data))
  if (!parsed.success || parsed.output.user_id !== userId) return null
  const { event_id, provider, inbox_id, provider_message_id } = parsed.output
  return event_id === eventId(userId, provider, inbox_id, provider_message_id) ? parsed.output : null
}

function parseJson(data: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(data))
  } catch {
    return undefined
  }
}
