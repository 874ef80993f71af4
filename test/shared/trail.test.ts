/** What a record of the audit trail may say of a person: the user token, and of who was erased not even that. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { trailSubject } from '#shared/subjects.ts'
import { hiddenUser, type TrailFacts, type TrailRecord, trailRecord } from '#shared/trail.ts'
import { decodeUser } from '#shared/user-token.ts'

const USER = 'ada.lovelace@example.com'
const UUID = '018bd0d5-9b80-7c3e-8f2a-3b1c2d4e5f60'
const recordOf = (facts: Partial<TrailFacts>): TrailRecord =>
  trailRecord({
    ...{ action: 'connect', userId: USER, provider: 'google', by: 'user', instance: 'a', atS: 1, requestId: UUID },
    ...facts,
  })

test('a record names the user by the token, and a request as the caller named it', () => {
  const { user, request_id: requestId } = recordOf({ requestId: 'ada-1' })
  assert.deepEqual([user, requestId], ['ada=2Elovelace=40example=2Ecom', 'ada-1'])
})

test('a record of erasing names nobody: the hash of the user, and a request only by a UUID', () => {
  const erased = recordOf({ action: 'erase' })
  // printf %s ada.lovelace@example.com | sha256sum
  const hash = '=sha256-e814ff3dc480a94c7ce9334062ec4733c75a002f4bcec0197f62ffea64059e2f'
  assert.deepEqual([erased.user, hiddenUser(USER)], [hash, hash])
  assert.notEqual(hiddenUser(`${USER}.`), hiddenUser(USER))
  assert.equal(erased.request_id, UUID)
  for (const requestId of ['ada.lovelace', `${UUID}-ada`, null])
    assert.equal(recordOf({ action: 'erase', requestId }).request_id, null)
  assert.doesNotMatch(trailSubject(erased.user, 'erase') + JSON.stringify(erased), /ada|lovelace|example/)
})

test('what stands for a user who was erased is no token of any user', () => {
  for (const userId of [USER, 'ada', '\u0012']) assert.throws(() => decodeUser(hiddenUser(userId)))
})
