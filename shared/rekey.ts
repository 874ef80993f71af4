/**
 * `mail.rekey`: by which keys the stored tokens are sealed, and the request to seal them anew with another one. Every
 * instance answers for itself. No user is part of it, and of a key its name only.
 */
import * as v from 'valibot'
import { count } from './contract.ts'

const kid = v.pipe(v.string(), v.regex(/^[\w-]{1,64}$/), v.description('name of a key'))

/** Rows that hold no sealed value at all: no key opens them. */
export const UNREADABLE = '(unreadable)'

export const RekeyRequest = v.strictObject({
  to: v.optional(
    v.pipe(
      kid,
      v.description(
        'seal everything with this key, or go on with it; an instance that seals with another one does nothing. Without it the rows are only counted',
      ),
    ),
  ),
})
export type RekeyRequest = v.InferOutput<typeof RekeyRequest>

const KeyCounts = v.record(v.string(), count)
/** Rows by the name of a key that they need. A key of the instance that no row needs stands there with 0. */
export type KeyCounts = v.InferOutput<typeof KeyCounts>

export const RekeyReply = v.object({
  instance: v.string(),
  active: v.pipe(kid, v.description('the key that it seals with')),
  keys: v.pipe(v.array(kid), v.description('all that it has')),
  running: v.pipe(v.boolean(), v.description('it seals rows anew at this moment, or is about to')),
  resealed: v.pipe(count, v.description('rows that it has sealed anew since its start')),
  rows: v.object({
    accounts: v.pipe(KeyCounts, v.description('records of the bucket, the same on every instance')),
    auth_db: v.pipe(KeyCounts, v.description('rows of its own auth.db')),
  }),
})
export type RekeyReply = v.InferOutput<typeof RekeyReply>

export const REKEY_DESCRIPTION =
  'Counts the stored tokens by the key that seals them and, with "to", seals them anew. One request, one reply of every instance.'

export const REKEY_EXAMPLE: { request: RekeyRequest; reply: RekeyReply } = {
  request: { to: 'k1764417600000' },
  reply: {
    instance: 'mail-1',
    active: 'k1764417600000',
    keys: ['k1764417600000', 'k1732881600000'],
    running: true,
    resealed: 400,
    rows: {
      accounts: { k1764417600000: 400, k1732881600000: 800 },
      auth_db: { k1764417600000: 0, k1732881600000: 1200 },
    },
  },
}
