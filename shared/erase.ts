/**
 * `mail.as.<user>.erase`: all there is of a user is erased, connected or not. Answered at once; asking again says how far it
 * is. `mail.disconnect` with `erase` asks for the same where no other mailbox of the user is connected.
 */
import * as v from 'valibot'
import type { ErrorCode } from './errors.ts'

/** `running`: it is under way; `done`: nothing is left on the servers. */
export const ERASE_STATES = ['running', 'done'] as const

/** How far the erasing of a user is. */
export const Erasure = v.object({
  state: v.pipe(
    v.picklist(ERASE_STATES),
    v.description(
      'running: ask again to learn when it is done; done: nothing is left in NATS and on the disk of the instance that did it',
    ),
  ),
  at: v.pipe(v.number(), v.integer(), v.description('epoch seconds when it was asked for, or done')),
  receipt: v.pipe(v.string(), v.description('id of the record on the audit trail, which comes when all is done')),
})
export type Erasure = v.InferOutput<typeof Erasure>
export const EraseRequest = v.strictObject({})
export const EraseReply = v.object({ user_id: v.string(), ...Erasure.entries })
export type EraseReply = v.InferOutput<typeof EraseReply>

export const ERASE = {
  name: 'erase',
  description:
    'Erases a user: revokes the grants, deletes tokens, databases, snapshots, records and events. Idempotent. Answered at once; ask again to learn when it is done.',
  request: EraseRequest,
  reply: EraseReply,
  errors: [
    ...['BAD_USER_ID', 'BAD_JSON', 'BAD_REQUEST', 'TOO_LARGE', 'INTERNAL', 'NO_INSTANCE', 'CONFLICT', 'TIMEOUT'],
  ] as ErrorCode[],
  /** Deadline of a client, in milliseconds. */
  timeoutMs: 3_000,
  example: {
    request: {},
    reply: {
      user_id: 'user_abc123',
      state: 'running',
      at: 1699999999,
      receipt: '018bd0d5-9b80-7c3e-8f2a-3b1c2d4e5f60',
    } satisfies EraseReply,
  },
}
