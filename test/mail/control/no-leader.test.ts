import assert from 'node:assert/strict'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { AppError } from '#shared/errors.ts'
import { BUCKET_ACCOUNTS, bucketStream } from '#shared/subjects.ts'
import { sandbox } from '../../support/sandbox.ts'

test('while nobody takes what is written, as while a cluster elects a leader, a request may be repeated', async () => {
  await using box = await sandbox()
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  const jsm = await jetstreamManager(ops)
  await jsm.streams.update(bucketStream(BUCKET_ACCOUNTS), { subjects: ['elsewhere'] })
  await assert.rejects(box.connect(nc, 'ada', 'google', { n: 1 }), (error) => {
    assert.ok(error instanceof AppError)
    assert.equal(error.code, 'TIMEOUT')
    return true
  })
})
