/** Status of an account that nobody works on: never green. */
import assert from 'node:assert/strict'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'

test('an account whose take-over fails is not shown as live', async () => {
  await using box = await sandbox()
  const first = await box.start('a')
  const nc = await box.connection('service')
  await box.connect(nc, 'ada', 'google', { n: 5 })
  await box.allLive(nc, ['ada'])
  await first.stop()
  const file = join(box.dir, 'a', 'users', 'ada', 'events.db')
  for (const suffix of ['', '-wal', '-shm']) await rm(file + suffix, { force: true })
  await mkdir(file)
  await box.start('a')
  const [account] = await until('status has left live', async () => {
    const { accounts } = await box.status(nc, 'ada')
    return accounts[0]?.state === 'retrying' ? accounts : undefined
  })
  assert.deepEqual([account?.live, account?.last_error?.code], [false, 'NOT_OWNED'])
})
