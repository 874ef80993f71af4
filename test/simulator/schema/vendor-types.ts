/**
 * Owns the list of vendor types that answers of the simulator are checked against.
 * `scripts/simulator-schema.ts` turns it into `vendor.json`; nothing imports it at run time.
 */
import type { EventMessage, MailFolder, User } from '@microsoft/microsoft-graph-types'
import type { gmail_v1 } from 'googleapis'

export type GmailProfile = gmail_v1.Schema$Profile
export type GmailMessage = gmail_v1.Schema$Message
export type GmailMessages = gmail_v1.Schema$ListMessagesResponse
export type GmailHistory = gmail_v1.Schema$ListHistoryResponse
export type GmailLabels = gmail_v1.Schema$ListLabelsResponse
export type GmailLabel = gmail_v1.Schema$Label
export type GmailWatch = gmail_v1.Schema$WatchResponse

// What leads to the rest of Graph is left out: the schema stays small, and the simulator never sends it.
type Elsewhere =
  | 'event'
  | 'attachments'
  | 'extensions'
  | 'multiValueExtendedProperties'
  | 'singleValueExtendedProperties'
export type GraphMessage = Omit<EventMessage, Elsewhere>
export type GraphFolder = Omit<MailFolder, Elsewhere | 'messages' | 'messageRules' | 'childFolders'>
export type GraphUser = Pick<User, 'id' | 'displayName' | 'mail' | 'userPrincipalName'>
