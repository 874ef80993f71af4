/** The wish to erase a user: once, whoever asks how often; nobody connects meanwhile; who has connected again can be erased again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { AppError } from '#shared/errors.ts'
import { BUCKET_ACCOUNTS } from '#shared/subjects.ts'
import { trailRecord } from '#shared/trail.ts'
import { systemClock } from '../../../services/mail/base/time.ts'
import { erase, refuseErasing, refuseOthers } from '../../../services/mail/control/erase.ts'
import { Accounts } from '../../../services/mail/kv/accounts.ts'
import { Bucket } from '../../../services/mail/kv/bucket.ts'
import { connected, kvBox, log } from '../kv/support.ts'

const account = { userId: 'ada', provider: 'google', inboxId: 'primary' } as const
const call = () =>
  trailRecord({
    action: 'erase',
    userId: 'ada',
    provider: null,
    instance: 'i',
    atS: 1,
    by: 'service',
    requestId: null,
  })

test('a user is to be erased once; meanwhile nobody connects; what comes later is of a new user', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_ACCOUNTS)
  const deps = { accounts: new Accounts(() => bucket, systemClock, log), clock: systemClock }
  const { accounts } = deps
  await accounts.change(account, () => connected({ desired: 'disconnected', credential: null }))
  await refuseErasing('ada', accounts)
  assert.equal(accounts.needsOwner('ada'), false)
  const first = await erase('ada', deps, call())
  assert.deepEqual([first.state, accounts.needsOwner('ada')], ['running', true])
  assert.deepEqual(await erase('ada', deps, call()), first)
  await assert.rejects(
    refuseErasing('ada', accounts),
    (error) => error instanceof AppError && error.code === 'CONFLICT',
  )
  await refuseErasing('grace', accounts)

  const upTo = await bucket.lookUpEnd()
  await bucket.eraseKeys('ada.*.*', upTo, AbortSignal.timeout(5_000))
  assert.equal(accounts.ofUser('ada').length, 1, 'no watch tells of what was erased')
  const wish = await accounts.readErasure('ada')
  assert.ok(wish !== null)
  const { receipt } = wish.record
  const facts = { receipt, at: 2, epoch: { era: 1, rev: 1 }, bucketCreatedMs: bucket.createdMs, upTo }
  await accounts.writeErasure('ada', { v: 1, erase: 'done', ...facts }, wish.revision)
  assert.deepEqual([accounts.ofUser('ada'), accounts.needsOwner('ada')], [[], false])
  assert.deepEqual(await erase('ada', deps, call()), { ...first, state: 'done', at: 2 })
  await refuseErasing('ada', accounts)

  await accounts.change(account, () => connected())
  assert.equal(accounts.ofUser('ada').length, 1)
  const next = await erase('ada', deps, call())
  assert.equal(next.state, 'running')
  assert.notEqual(next.receipt, first.receipt)
})

test('who names one mailbox means no other: erasing is refused while another one is connected', async () => {
  await using box = await kvBox()
  const bucket = await Bucket.open(box.nc, BUCKET_ACCOUNTS)
  const accounts = new Accounts(() => bucket, systemClock, log)
  const work = { userId: 'ada', provider: 'microsoft', inboxId: 'work' } as const
  await accounts.change(account, () => connected())
  await refuseOthers(account, accounts)
  await accounts.change(work, () => connected())
  await assert.rejects(refuseOthers(account, accounts), (error) => {
    assert.ok(error instanceof AppError)
    assert.equal(error.code, 'OTHER_MAILBOXES_CONNECTED')
    assert.deepEqual(error.details, { mailboxes: [{ provider: 'microsoft', inbox_id: 'work' }] })
    return true
  })
  await accounts.change(work, (current) => (current === null ? null : { ...current, desired: 'disconnected' }))
  await refuseOthers(account, accounts)
})
