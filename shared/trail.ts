/**
 * One record of the audit trail, the stream MAIL_AUDIT: who did what to which account, when, and how it ended.
 * It holds no secret, and of personal data nothing but the user token: no address, no inbox, which a client may name as it
 * likes, and nothing of a mail. A record of `erase` has not even that.
 */
import { hash } from 'node:crypto'
import * as v from 'valibot'
import { PROVIDERS } from './contract.ts'
import { encodeUser } from './user-token.ts'
import { uuidV5, uuidV7 } from './uuid.ts'

/**
 * `connect`, `disconnect`, `erase`, `rekey`: somebody asked. `refresh_failed`: the user must sign in again. `ownership`: a
 * term has begun, an instance works on the user's mail.
 */
export const TRAIL_ACTIONS = ['connect', 'disconnect', 'refresh_failed', 'ownership', 'rekey', 'erase'] as const
export type TrailAction = (typeof TRAIL_ACTIONS)[number]
/** By whom: a user with a JWT, a trusted service in the name of a user, or an instance by itself. */
export const TRAIL_ACTORS = ['user', 'service', 'instance'] as const

export const TrailRecord = v.object({
  v: v.literal(1),
  /** UUID, the `Nats-Msg-Id` too. */
  id: v.string(),
  action: v.picklist(TRAIL_ACTIONS),
  /** User token, of `erase` what `hiddenUser` makes; null when it is about no single user. */
  user: v.nullable(v.string()),
  provider: v.nullable(v.picklist(PROVIDERS)),
  by: v.picklist(TRAIL_ACTORS),
  /** Name of the instance that did it, or answered. */
  instance: v.string(),
  /** Epoch seconds. */
  at: v.number(),
  /** `ok` or a code of errors.ts. */
  outcome: v.string(),
  /** As in the answer and the log; null when nobody asked, and of `erase` when it is no UUID or the user id. */
  request_id: v.nullable(v.string()),
  /** Of `ownership`: what the term goes on from, see ADR 0014. */
  how: v.optional(v.string()),
  /** Of `rekey`: name of the key that tokens are sealed with from now on. */
  to: v.optional(v.string()),
})
export type TrailRecord = v.InferOutput<typeof TrailRecord>

const Uuid = v.pipe(v.string(), v.uuid())
const NAMESPACE = Buffer.from('5b0b5cf46f8f4f0a9a513d7a2f3c9e18', 'hex')
/** Id of the record of a term: the same whoever writes it, however often. */
export const termId = (userId: string, epoch: { era: number; rev: number }): string =>
  uuidV5(NAMESPACE, JSON.stringify([userId, epoch.era, epoch.rev]))
/** Id of the record of what a request to seal tokens anew has an instance do: the same however often it is repeated. */
export const passId = (requestId: string, instance: string, to: string): string =>
  uuidV5(NAMESPACE, JSON.stringify([requestId, instance, to]))

/**
 * Stands for a user who was erased: `=sha256-` and the hash of the user id in hex. Who knows the id finds the record; who has only
 * the record can but try ids. No user token is written so.
 */
export const hiddenUser = (userId: string): string => `=sha256-${hash('sha256', userId, 'hex')}`

/** Who asks, as far as a record says. */
export type Caller = { by: TrailRecord['by']; requestId: string | null }

export type TrailFacts = Caller & {
  action: TrailAction
  /** null: about no single user. */
  userId: string | null
  provider: TrailRecord['provider']
  instance: string
  /** Epoch seconds. */
  atS: number
  /** Default: `ok`. */
  outcome?: string
  how?: string
  to?: string
  /** Default: one that was never used. */
  id?: string
}

/** @throws AppError BAD_USER_ID */
export function trailRecord(facts: TrailFacts): TrailRecord {
  const { action, userId, provider, by, instance, atS, requestId, how, to } = facts
  const token = userId === null ? null : encodeUser(userId)
  const isErase = action === 'erase'
  return {
    v: 1,
    id: facts.id ?? uuidV7(),
    action,
    user: isErase && userId !== null ? hiddenUser(userId) : token,
    provider,
    by,
    instance,
    at: atS,
    outcome: facts.outcome ?? 'ok',
    // A caller may put a name there, or the user id itself.
    request_id: isErase && (!v.is(Uuid, requestId) || requestId === userId) ? null : requestId,
    ...(how === undefined ? {} : { how }),
    ...(to === undefined ? {} : { to }),
  }
}
