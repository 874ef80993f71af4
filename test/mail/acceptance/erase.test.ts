/** Erasing as a user, an operator and a lost JetStream meet it; the bytes are looked for in test/security/erase.test.ts. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import type { DisconnectReply } from '#shared/contract.ts'
import { requestOperation } from '#shared/control-client.ts'
import { AppError } from '#shared/errors.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { BUCKET_ACCOUNTS, bucketStream, bucketSubject, erasureKey } from '#shared/subjects.ts'
import { mailctl } from '../../cli/mailctl.ts'
import { eventsOf } from '../../support/ledger.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { connectWith, disconnect, readDb, requests, SEED, sealedRows } from './support.ts'
import { trailOf } from './trail-support.ts'

const eraseBy = async (nc: NatsConnection, provider: 'google' | 'microsoft'): Promise<DisconnectReply> =>
  await requestOperation(nc, 'disconnect', {
    body: { provider, erase: true },
    requestId: 'r',
    signal: AbortSignal.timeout(10_000),
    asUser: 'ada',
  })

const userDir = (box: Sandbox, instance: string): string => join(box.dir, instance, 'users', 'ada')

async function hasErasure(ops: NatsConnection): Promise<boolean> {
  const query = { last_by_subj: bucketSubject(BUCKET_ACCOUNTS, erasureKey('ada')) }
  const message = await (await jetstreamManager(ops)).streams.getMessage(bucketStream(BUCKET_ACCOUNTS), query)
  return message !== null && message.json<{ erase: string }>().erase === 'done'
}

test('a disconnect with erase leaves nothing of the user, once no other mailbox is connected; connecting again begins anew', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, env: { MAIL_DEDUPE_WINDOW_MS: '100' } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  await box.connect(nc, 'ada', 'google', { n: 30 })
  await box.connect(nc, 'ada', 'microsoft', { n: 30 }, 'work')
  await box.allLive(nc, ['ada'])
  const google = async (): Promise<number> =>
    (await eventsOf(ops, 'ada')).filter(({ event }) => event.provider === 'GOOGLE').length
  const mails = await google()
  assert.ok(mails > 0)
  await assert.rejects(eraseBy(nc, 'google'), (error) => {
    assert.ok(error instanceof AppError)
    assert.equal(error.code, 'OTHER_MAILBOXES_CONNECTED')
    assert.deepEqual(error.details, { mailboxes: [{ provider: 'microsoft', inbox_id: 'work' }] })
    return true
  })
  assert.equal((await box.status(nc, 'ada')).accounts.length, 2, 'nothing has changed')
  await disconnect(nc, 'ada', 'microsoft', 'work')
  const { message, erasure } = await eraseBy(nc, 'google')
  assert.deepEqual([message, erasure?.state], ['mail sync stopped', 'running'])
  assert.deepEqual((await box.status(nc, 'ada')).accounts, [], 'nothing is synced any more')
  const done = await until('it is done', async () => {
    const reply = await eraseBy(nc, 'google')
    return reply.erasure?.state === 'done' && reply.erasure
  })
  assert.equal(done.receipt, erasure?.receipt)
  assert.deepEqual(await eventsOf(ops, 'ada'), [])
  assert.deepEqual([existsSync(userDir(box, 'a')), sealedRows(box, 'a', 'ada')], [false, 0])
  assert.equal(requests(box, 'google.revoke').filter(({ status }) => status === 200).length, 1)
  const records = (await trailOf(ops)).filter(({ action }) => action === 'erase')
  assert.deepEqual(
    records.map(({ outcome, provider }) => [outcome, provider]),
    [
      ['OTHER_MAILBOXES_CONNECTED', 'google'],
      ['ok', 'google'],
    ],
    'one record for each call that was refused or changed something',
  )
  await connectWith(nc, 'ada', 'google', box.sim.credentials(box.simUser('ada'), 'google'))
  await until('all of it comes again', async () => (await google()) === mails, { timeoutMs: 60_000 })
})

test('what was erased stays so when JetStream is lost: a disk that was off brings nothing back', async () => {
  await using box = await sandbox({ simulator: { seed: SEED } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const old = await box.spawn('old')
  await box.connect(nc, 'ada', 'google', { n: 20 })
  await box.connect(nc, 'grace', 'google', { n: 5 })
  await box.allLive(nc, ['ada', 'grace'])
  const a = await box.spawn('a')
  await until('both disks have the tokens', () => sealedRows(box, 'a', 'ada') + sealedRows(box, 'old', 'ada') === 2)
  await old.kill('SIGKILL')

  const as = { NATS_URL: box.nats.url, NATS_USER: 'service', NATS_PASSWORD: box.nats.passwords.service }
  const ran = await mailctl(['erase', '--user', 'ada', '--json'], as)
  assert.equal(ran.code, 0, ran.err)
  const reply: { user_id: string; state: string; receipt: string } = JSON.parse(ran.out)
  assert.deepEqual([reply.user_id, reply.state], ['ada', 'done'])
  await until('the other disk has none', () => sealedRows(box, 'a', 'ada') === 0)
  assert.deepEqual([sealedRows(box, 'old', 'ada'), existsSync(userDir(box, 'old'))], [1, true])

  await a.kill('SIGTERM')
  await box.nats.wipe()
  await box.nats.start()
  await box.spawn('a')
  await until('the record of it is brought back', () => hasErasure(ops))
  await box.spawn('old')
  await until('the old disk has nothing', () => sealedRows(box, 'old', 'ada') === 0 && !existsSync(userDir(box, 'old')))
  await box.allLive(nc, ['grace'])
  assert.deepEqual((await box.status(nc, 'ada')).accounts, [])
  assert.deepEqual(await eventsOf(ops, 'ada'), [])
  const kept = (db: Parameters<Parameters<typeof readDb>[1]>[0]): unknown =>
    db.prepare('SELECT count(*) FROM erased_users').pluck().get()
  for (const name of ['a', 'old']) assert.equal(readDb(join(box.dir, name, 'auth.db'), kept), 1, name)
})
