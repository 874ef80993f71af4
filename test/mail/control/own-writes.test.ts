/** Who is asked about again and again is looked up beforehand: not so that an answer to a change is followed by what was before it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sandbox } from '../../support/sandbox.ts'
import { disconnect } from '../acceptance/support.ts'

test('the status that follows a connect or a disconnect shows it, also of a user who is followed', async () => {
  await using box = await sandbox()
  await box.start('a')
  const nc = await box.connection('service')
  const shown = async () => (await box.status(nc, 'ada')).accounts.map(({ provider }) => provider)
  await box.connect(nc, 'ada', 'google', { n: 1 })
  await box.allLive(nc, ['ada'])
  for (let i = 0; i < 10; i++) {
    assert.deepEqual([await shown(), await shown()], [['google'], ['google']])
    await box.connect(nc, 'ada', 'microsoft', { n: 1 })
    assert.deepEqual(
      [await shown(), await shown()],
      [
        ['google', 'microsoft'],
        ['google', 'microsoft'],
      ],
    )
    await disconnect(nc, 'ada', 'microsoft')
  }
})
