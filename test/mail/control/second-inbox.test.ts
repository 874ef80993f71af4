/** One mailbox under several inboxes of one user, asked for at the same moment. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requestOperation } from '#shared/control-client.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'

test('of three connects of one mailbox at the same moment one is accepted, and each mail is there once', async () => {
  await using box = await sandbox()
  await box.start('a')
  await box.start('b')
  const nc = await box.connection('service')
  const { access_token, refresh_token, expires_in } = box.sim.addMailbox({ user: 'ada', provider: 'google', n: 8 })
  const outcomes = await Promise.allSettled(
    ['primary', 'second', 'third'].map((inbox_id) =>
      requestOperation(nc, 'connect', {
        asUser: 'ada',
        body: { provider: 'google', access_token, refresh_token, expires_in, inbox_id },
        requestId: 'test',
      }),
    ),
  )
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const outcome of outcomes)
    if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'MAILBOX_ALREADY_CONNECTED')
  const { accounts } = await until('one account is shown', async () => {
    const reply = await box.status(nc, 'ada')
    return reply.accounts.length > 0 ? reply : undefined
  })
  assert.equal(accounts.length, 1)
})
