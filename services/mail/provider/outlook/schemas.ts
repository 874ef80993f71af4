/** The shapes of Graph's answers: fields we do not use are ignored; enums and their casing are not looked at. */
import * as v from 'valibot'
import { token } from '../answer.ts'

const Link = v.optional(token(8192))

/** A page of a delta walk ends in exactly one link; with neither, more data would look like an end. */
export const DeltaPage = v.pipe(
  v.object({ value: v.array(v.unknown()), '@odata.nextLink': Link, '@odata.deltaLink': Link }),
  v.check((page) => (page['@odata.nextLink'] === undefined) !== (page['@odata.deltaLink'] === undefined)),
)

/** A page of a plain list; without a link it is the last. */
export const ListPage = v.object({ value: v.array(v.unknown()), '@odata.nextLink': Link })

export const Id = v.object({ id: token(1024) })
/** What an audit lists of a message. */
export const Listed = v.object({ id: token(1024), isDraft: v.boolean() })
export const Item = v.object({ id: token(1024), '@removed': v.optional(v.unknown()) })

const text = v.fallback(v.nullish(v.string(), null), null)

const address = v.fallback(v.nullish(token(320), null), null)
export const Me = v.object({ mail: address, userPrincipalName: address })

export const Folder = v.object({
  id: token(1024),
  '@removed': v.optional(v.unknown()),
  '@odata.type': v.fallback(v.optional(v.string()), undefined),
  /** Only what mail is labelled with: a folder without a name is a folder. */
  displayName: text,
  /** null at the root; absent in an update that does not touch it. */
  parentFolderId: v.optional(v.nullable(token(1024))),
  totalItemCount: v.fallback(v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(0))), undefined),
})
export type GraphFolder = v.InferOutput<typeof Folder>

const Recipient = v.object({
  emailAddress: v.fallback(v.nullish(v.object({ name: text, address: text }), null), null),
})
const People = v.array(Recipient)

/** A whole message. An update that shows only what changed fails here and is fetched singly. */
export const Message = v.object({
  id: token(1024),
  isDraft: v.boolean(),
  parentFolderId: token(1024),
  receivedDateTime: v.nullable(v.string()),
  subject: v.nullable(v.string()),
  from: v.optional(v.nullable(Recipient), null),
  sender: v.optional(v.nullable(Recipient), null),
  toRecipients: People,
  ccRecipients: v.optional(v.nullable(People), []),
  bccRecipients: v.optional(v.nullable(People), []),
  replyTo: v.fallback(v.nullish(People, []), []),
  conversationId: v.fallback(v.nullish(token(1024), null), null),
  internetMessageId: text,
  sentDateTime: text,
  bodyPreview: text,
  isRead: v.fallback(v.nullish(v.boolean(), null), null),
  categories: v.fallback(v.nullish(v.array(v.string()), []), []),
})
export type GraphMessage = v.InferOutput<typeof Message>
export type GraphRecipient = v.InferOutput<typeof Recipient>
