/** Mails for what needs no provider: an outbox that is filled, events that are published from memory. */
import type { MessageMeta } from '../../../services/mail/base/model.ts'
import { gmailMeta } from '../../../services/mail/provider/gmail/normalize.ts'
import { gmailId, gmailText } from '../provider/gmail.ts'
import { SHAPES, timeMs } from '../provider/mailbox.ts'

const metas: MessageMeta[] = []

/** Mail i as the service would have normalised it. */
export function memoryMail(index: number): MessageMeta {
  const at = index % SHAPES
  metas[at] ??= gmailMeta(JSON.parse(gmailText(at)))
  const id = gmailId(index)
  return { ...metas[at], id, threadId: id, msgDate: Math.floor(timeMs(index) / 1_000) }
}
