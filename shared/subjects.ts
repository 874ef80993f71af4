/**
 * Every name on the broker: subjects, stream, buckets, queue group, KV keys.
 * Pattern, builder and parser stand together; nobody else spells a name.
 */
import { decodeUser, encodeUser } from './user-token.ts'

export const SERVICE_NAME = 'mail-sync'
export const QUEUE = 'mail-sync'
export const GROUP = 'mail'

export const EVENT_STREAM = 'EMAIL_EVENTS'
/** What the stream captures. */
export const EVENT_STREAM_SUBJECT = 'user.*.email.>'
/** What consumers of all users filter on. */
export const EVENT_SUBJECT_ALL = 'user.*.email.received'
export const EVENT_TYPE = 'email.received'

export const BUCKET_ACCOUNTS = 'mail_accounts'
/** Values of a key that the bucket keeps: those before the present one until they are erased. */
export const ACCOUNTS_HISTORY = 16
export const BUCKET_LEASES = 'mail_leases'
export const BUCKET_STATE = 'mail_state'
export const BUCKET_SNAPSHOTS = 'mail_snapshots'
/** The stream behind the object store of snapshots. */
export const SNAPSHOT_STREAM = `OBJ_${BUCKET_SNAPSHOTS}`
/** Subject of the chunks of one object of the store. */
export const snapshotChunkSubject = (nuid: string): string => `$O.${BUCKET_SNAPSHOTS}.C.${nuid}`
/** Subject of the record of an object, as the object store makes it out of its name. */
export const snapshotRecordSubject = (name: string): string =>
  `$O.${BUCKET_SNAPSHOTS}.M.${Buffer.from(name).toString('base64').replaceAll('+', '-').replaceAll('/', '_')}`
/** Subjects of the records of all objects of the store. */
export const snapshotRecordSubjects = (): string => `$O.${BUCKET_SNAPSHOTS}.M.>`
/** The name of the object whose record stands on a subject. */
export const snapshotOfRecord = (subject: string): string =>
  Buffer.from(subject.split('.')[3] ?? '', 'base64url').toString()
/** What the names of all snapshots of a user begin with. */
export const snapshotPrefix = (userId: string): string => `${encodeUser(userId)}/`
/** `<user>/<epoch>-<seq>`: the ledger of a user as a term had it, up to a sequence of the stream. */
export const snapshotName = (userId: string, epoch: { era: number; rev: number }, seq: number): string =>
  `${snapshotPrefix(userId)}${epoch.era}.${epoch.rev}-${seq}`

export const TRAIL_STREAM = 'MAIL_AUDIT'
/** What the stream of the audit trail captures. */
export const TRAIL_SUBJECT_ALL = 'audit.mail.>'
/** `audit.mail.<user>.<action>`, the user as the record names it; `=`, which is the token of no user, for what concerns all of them. */
export const trailSubject = (user: string | null, action: string): string => `audit.mail.${user ?? '='}.${action}`

/** The stream behind a KV bucket. */
export const bucketStream = (bucket: string): string => `KV_${bucket}`
/** What the stream behind a KV bucket keeps a key under. */
export const bucketSubject = (bucket: string, key: string): string => `$KV.${bucket}.${key}`

/** All that the stream captures of one user. */
export const eventSubjectsOf = (userId: string): string => `user.${encodeUser(userId)}.email.>`

/** `user.<token>.email.received` of one user. */
export const eventSubject = (userId: string): string => `user.${encodeUser(userId)}.${EVENT_TYPE}`

/** Operations of the control plane, in the order in which the documents list them. */
export const OPERATIONS = ['connect', 'status', 'disconnect'] as const
export type OperationName = (typeof OPERATIONS)[number]
/** What operators and trusted services may ask besides; never with a user's JWT, never over HTTP. */
export const INSPECTIONS = ['why', 'quarantine', 'audit'] as const
export type InspectionName = (typeof INSPECTIONS)[number]

/** `mail.<operation>`: carries the user's JWT. */
export const requestSubject = (operation: OperationName): string => `${GROUP}.${operation}`
/** `mail.as.<token>.<operation>`: for trusted services; NATS permissions decide who may publish it. */
export const asSubject = (userId: string, operation: OperationName | InspectionName): string =>
  `${GROUP}.as.${encodeUser(userId)}.${operation}`
/** `mail.as.<token>.erase`: erases all there is of a user. Only operators and trusted services may ask. */
export const eraseSubject = (userId: string): string => `${GROUP}.as.${encodeUser(userId)}.erase`
/** Every instance answers it; it is about no user. */
export const FLEET_SUBJECT = `${GROUP}.fleet`
/** Every instance answers it: by which keys the stored tokens are sealed. Only operators and trusted services may ask. */
export const REKEY_SUBJECT = `${GROUP}.rekey`
/** `mail.at.<address>.<what>`: one instance asks another. The address is that of a process, not of a session. */
export const atSubject = (address: string, what: 'status' | InspectionName): string => `${GROUP}.at.${address}.${what}`

/**
 * The user id of a `mail.as.<token>.<operation>` subject.
 * @throws AppError BAD_USER_ID
 */
export const userOfAsSubject = (subject: string): string => decodeUser(subject.split('.')[2] ?? '')

/** All requests. No stream may capture any of them: it would store refresh tokens and JWTs. */
export const REQUEST_SUBJECT_ALL = `${GROUP}.>`

export const SRV_STATS = `$SRV.STATS.${SERVICE_NAME}`
export const SRV_PING = `$SRV.PING.${SERVICE_NAME}`
export const SRV_INFO = `$SRV.INFO.${SERVICE_NAME}`

export type ProviderName = 'google' | 'microsoft'

/** `<user token>.<provider>.<inbox>` in `mail_accounts`. */
export const accountKey = (userId: string, provider: ProviderName, inboxId: string): string =>
  `${encodeUser(userId)}.${provider}.${inboxId}`

/** The parts of an account key, or null when the key is not one. */
export function parseAccountKey(key: string): { userId: string; provider: ProviderName; inboxId: string } | null {
  const [token, provider, inboxId, ...rest] = key.split('.')
  if (token === undefined || inboxId === undefined || rest.length > 0) return null
  if (provider !== 'google' && provider !== 'microsoft') return null
  try {
    return { userId: decodeUser(token), provider, inboxId }
  } catch {
    return null
  }
}

/** Keys of all accounts of a user in `mail_accounts`. */
export const accountKeysOf = (userId: string): string => `${encodeUser(userId)}.*.*`
/** Key in `mail_accounts` of the wish to erase a user, and of what is left of it: no account has it. */
export const erasureKey = (userId: string): string => `${encodeUser(userId)}.erased`

/** The user whom a key of `mail_accounts` is about, and whether it is one of an account; null when it is no such key. */
export function parseUserKey(key: string): { userId: string; of: 'account' | 'erasure' } | null {
  const account = parseAccountKey(key)
  if (account !== null) return { userId: account.userId, of: 'account' }
  const [token = '', name, ...rest] = key.split('.')
  if (name !== 'erased' || rest.length > 0) return null
  try {
    return { userId: decodeUser(token), of: 'erasure' }
  } catch {
    return null
  }
}

export const sessionKey = (sid: string): string => `s.${sid}`
export const leaseKey = (userId: string): string => `u.${encodeUser(userId)}`
/** Key of the era in `mail_leases`: absent until the bucket has gone backwards. */
export const ERA_KEY = 'era'
/** Key of the user's record in `mail_state`. */
export const stateKey = (userId: string): string => encodeUser(userId)
/** All keys of the user in `mail_state`. */
export const stateKeysOf = (userId: string): string[] => [stateKey(userId), `${stateKey(userId)}.>`]

/** What a key of `mail_leases` names, or null when it is neither a session nor a lease. */
export function parseLeaseKey(key: string): { sid: string } | { userId: string } | null {
  if (key.startsWith('s.')) return { sid: key.slice(2) }
  if (!key.startsWith('u.')) return null
  try {
    return { userId: decodeUser(key.slice(2)) }
  } catch {
    return null
  }
}

export const HEADER_AUTHORIZATION = 'Authorization'
export const HEADER_ERROR = 'Nats-Service-Error'
export const HEADER_ERROR_CODE = 'Nats-Service-Error-Code'
export const HEADER_REQUEST_ID = 'Mail-Request-Id'
/** Between instances: the token of the user that is asked about. */
export const HEADER_USER = 'Mail-User'

/** The inbox prefix of each NATS role; `nats.conf` lets each role read only its own. */
export const inboxPrefix = (natsUser: string | undefined): string =>
  natsUser === undefined ? '_INBOX' : `_INBOX_${natsUser}`
/**
 * Prefix of the JetStream API for each NATS role: readers of the events have an account of their own, into which `nats.conf`
 * imports what they may ask.
 */
export const apiPrefix = (natsUser: string | undefined): string => (natsUser === 'consumer' ? 'MAIL.API' : '$JS.API')
/**
 * True for a subject that only a waiting requester listens to, also one that the server has made for a request from
 * another account or cluster: never one of ours, of KV or of JetStream.
 */
export const isInbox = (subject: string): boolean => /^_INBOX[._]|^_G?R_\./.test(subject)
