/** The quarantine of one instance that is stopped and started again. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requestInspection } from '#shared/control-client.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'

const MAILS = 3

async function listed(box: Sandbox, nc: NatsConnection) {
  const reply = await requestInspection(nc, 'quarantine', { asUser: 'ada', body: {}, requestId: 'test' })
  const [account] = reply.accounts
  const status = (await box.status(nc, 'ada')).accounts[0]
  assert.equal(account?.set_aside, MAILS)
  assert.equal(status?.set_aside, MAILS)
  return account?.messages ?? []
}

test('messages that are set aside survive a restart with their attempts, and are counted and listed as before', async () => {
  await using box = await sandbox()
  const nc = await box.connection('service')
  const first = await box.start('a')
  box.sim.faults.add({ match: { route: 'gmail.messages.get' }, fault: { type: 'wrongType' } })
  await box.connect(nc, 'ada', 'google', { n: MAILS, mix: { draft: 0, spam: 0, trash: 0, chat: 0 } })
  const before = await until('all are set aside', () => listed(box, nc))
  assert.deepEqual(
    before.map(({ message_id }) => message_id).toSorted(),
    box.sim.truth(box.simUser('ada'), 'google').must.toSorted(),
  )
  await first.stop()
  await box.start('a')
  const after = await until('they are counted again', () => listed(box, nc))
  for (const { message_id, attempts, reason, lane, listed_at, next_attempt_at } of after) {
    const old = before.find((message) => message.message_id === message_id)
    assert.ok(old !== undefined && attempts >= old.attempts, 'the attempts go on')
    assert.deepEqual([reason, lane, listed_at], ['unreadable', 'enum', old.listed_at])
    assert.ok((next_attempt_at ?? 0) >= (old.next_attempt_at ?? 0))
  }
})
