/** The shapes of Gmail's answers, as loose as reading allows: fields we do not use are ignored, the rest must be right. */
import * as v from 'valibot'
import { token } from '../answer.ts'

/** uint64 as decimal text; a third-party emulator sends 21 digits, so nothing here assumes 64 bits. */
const HistoryId = v.pipe(v.string(), v.regex(/^\d{1,32}$/))
const Labels = v.fallback(v.array(v.string()), [])

export const Profile = v.object({
  emailAddress: token(320),
  messagesTotal: v.fallback(v.nullish(v.number(), null), null),
  historyId: HistoryId,
})

/** `{}` would be "no mail": an answer must have at least the estimate that Gmail never leaves out. */
export const MessageList = v.pipe(
  v.object({
    messages: v.optional(v.array(v.unknown())),
    nextPageToken: v.optional(token()),
    resultSizeEstimate: v.optional(v.unknown()),
  }),
  v.check((list) => list.messages !== undefined || list.resultSizeEstimate !== undefined),
)
export const MessageId = v.object({ id: token(256) })

export const HistoryList = v.object({
  history: v.optional(v.array(v.unknown())),
  nextPageToken: v.optional(token()),
  historyId: HistoryId,
})
const Changes = v.optional(v.array(v.unknown()))
export const HistoryRecord = v.object({
  messages: Changes,
  messagesAdded: Changes,
  messagesDeleted: Changes,
  labelsAdded: Changes,
  labelsRemoved: Changes,
})
export const HistoryChange = v.object({
  message: v.object({ id: token(256), labelIds: Labels }),
  labelIds: Labels,
})

export const Message = v.object({
  id: token(256),
  threadId: v.fallback(v.nullish(token(256), null), null),
  labelIds: v.optional(v.array(v.string()), []),
  snippet: v.fallback(v.string(), ''),
  internalDate: v.fallback(v.nullish(v.union([v.string(), v.number()]), null), null),
  payload: v.object({
    headers: v.pipe(
      v.optional(v.array(v.unknown()), []),
      v.transform((list) => list.flatMap((one) => (v.is(Header, one) ? [one] : []))),
    ),
  }),
})
const Header = v.object({ name: v.string(), value: v.string() })
export type GmailMessage = v.InferOutput<typeof Message>
