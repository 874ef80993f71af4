/** Sealing the stored tokens anew has its record on the audit trail before the first of them is sealed: one of each instance. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import type { NatsConnection } from '#shared/nats.ts'
import type { RekeyReply, RekeyRequest } from '#shared/rekey.ts'
import { rekeyOf } from '#shared/service-view.ts'
import type { TrailRecord } from '#shared/trail.ts'
import { mailctl } from '../../cli/mailctl.ts'
import { type Sandbox, sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { SEED } from './support.ts'
import { setFull, trailOf } from './trail-support.ts'

const USERS = ['ada', 'grace', 'joan']
const key = (kid: string): string => `${kid}:${randomBytes(32).toString('base64url')}`

/** Tokens that are sealed with the old key, on a disk of each instance; then instances with the new one in front. */
async function withOldRows(box: Sandbox, nc: NatsConnection, names: readonly string[]): Promise<void> {
  const [old, next] = [key('old'), key('new')]
  const before = await Promise.all(names.map((name) => box.start(name, { env: { MAIL_TOKEN_KEYS: old } })))
  for (const user of USERS) await box.connect(nc, user, 'google', { n: 1 })
  await box.allLive(nc, USERS)
  await until('each disk has them', async () => {
    const replies = await askAll(nc, 'count', {})
    return replies.length === names.length && replies.every(({ rows }) => rows.auth_db.old === USERS.length)
  })
  for (const one of before) await one.stop()
  for (const name of names) await box.start(name, { env: { MAIL_TOKEN_KEYS: `${next},${old}` } })
}

const askAll = (nc: NatsConnection, id: string, request: RekeyRequest): Promise<RekeyReply[]> =>
  rekeyOf(nc, request, id, 10_000)
const leftOf = (replies: readonly RekeyReply[]): number[] =>
  replies.map(({ rows }) => (rows.accounts.old ?? 0) + (rows.auth_db.old ?? 0))
const rekeysOf = async (ops: NatsConnection): Promise<TrailRecord[]> =>
  (await trailOf(ops)).filter(({ action }) => action === 'rekey')

test('a rekey has one record of each instance, with the new key, however often it is asked; who only counts has none', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, steady: true })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await withOldRows(box, nc, ['a', 'b'])
  await askAll(nc, 'count', {})
  await askAll(nc, 'another-key', { to: 'old' })
  assert.deepEqual(await rekeysOf(ops), [])
  const asked = await askAll(nc, 'pass', { to: 'new' })
  assert.deepEqual(asked.map(({ instance, running }) => [instance, running]).toSorted(), [
    ['a', true],
    ['b', true],
  ])
  await until('all is sealed anew', async () => {
    const replies = await askAll(nc, 'pass', { to: 'new' })
    return replies.length === 2 && leftOf(replies).every((rows) => rows === 0)
  })
  await askAll(nc, 'nothing-left', { to: 'new' })
  const records = await rekeysOf(ops)
  assert.deepEqual(
    records
      .map(({ user, provider, by, instance, outcome, request_id, to }) => [
        ...[user, provider, by, instance, outcome, request_id, to],
      ])
      .toSorted(),
    [
      [null, null, 'service', 'a', 'ok', 'pass', 'new'],
      [null, null, 'service', 'b', 'ok', 'pass', 'new'],
    ],
  )
})

test('mailctl rekey names one request on all records, and leaves none when nothing is to be done', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, steady: true })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await withOldRows(box, nc, ['a', 'b'])
  const as = { NATS_URL: box.nats.url, NATS_USER: 'service', NATS_PASSWORD: box.nats.passwords.service }
  for (const args of [['--show'], [], []]) {
    const ran = await mailctl(['rekey', '--json', ...args], as)
    assert.equal(ran.code, 0, ran.err)
  }
  const records = await rekeysOf(ops)
  assert.deepEqual(records.map(({ instance }) => instance).toSorted(), ['a', 'b'])
  assert.equal(new Set(records.map(({ request_id }) => request_id)).size, 1)
})

test('no token is sealed anew while the audit trail takes no record; asked again it has one', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, steady: true })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await withOldRows(box, nc, ['a'])
  await setFull(ops, true)
  const [left] = leftOf(await askAll(nc, 'count', {}))
  assert.ok(left !== undefined && left > 0)
  assert.deepEqual(
    (await askAll(nc, 'pass', { to: 'new' })).map(({ running }) => running),
    [true],
  )
  await until('it has given up', async () => (await askAll(nc, 'count', {})).every(({ running }) => !running))
  assert.deepEqual(leftOf(await askAll(nc, 'count', {})), [left])
  await setFull(ops, false)
  await until('all is sealed anew', async () => {
    const replies = await askAll(nc, 'pass', { to: 'new' })
    return replies.length === 1 && leftOf(replies).every((rows) => rows === 0)
  })
  assert.equal((await rekeysOf(ops)).length, 1)
})
