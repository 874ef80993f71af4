/** An inbox stays with its mailbox, also when the provider cannot say whose the new credential is. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { requestOperation } from '#shared/control-client.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { assertClean, connectWith, untilStatus } from '../acceptance/support.ts'

for (const first of ['while it syncs', 'after a disconnect'])
  test(`a credential of another mailbox, handed over while the provider is down, opens nothing: ${first}`, async () => {
    await using box = await sandbox()
    await box.start('a')
    const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
    await box.connect(nc, 'ada', 'google', { n: 10 })
    await box.allLive(nc, ['ada'])
    const other = box.sim.addMailbox({ user: 'other', provider: 'google', n: 7 })
    if (first === 'after a disconnect') {
      const body = { provider: 'google', inbox_id: 'primary' }
      await requestOperation(nc, 'disconnect', { asUser: 'ada', body, requestId: 'test' })
    }
    box.sim.faults.add({ match: { route: 'gmail.*' }, fault: { type: '503' } })
    await connectWith(nc, 'ada', 'google', other)
    box.sim.faults.clear()
    await untilStatus(box, nc, 'ada', 'google', 'the credential is refused', ({ state }) => state === 'needs_reauth')
    await assertClean(box, ops, first)
    const pages = box.sim
      .log()
      .filter(({ route, mailbox }) => mailbox === 'other' && route.startsWith('gmail.messages'))
    assert.deepEqual(pages, [], 'nothing of the other mailbox was read')
  })

test('the right credential, handed over while the provider is down, goes on once it is back', async () => {
  await using box = await sandbox()
  await box.start('a')
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.connect(nc, 'ada', 'google', { n: 10 })
  await box.allLive(nc, ['ada'])
  box.sim.faults.add({ match: { route: 'gmail.*' }, fault: { type: '503' } })
  await connectWith(nc, 'ada', 'google', box.sim.credentials(box.simUser('ada'), 'google'))
  box.sim.mutate({ type: 'deliver', user: box.simUser('ada'), provider: 'google' })
  box.sim.faults.clear()
  await box.allLive(nc, ['ada'])
  await until('the new mail is there', async () => (await box.ledger(ops)).lost.length === 0)
  await assertClean(box, ops, 'the right credential')
})
