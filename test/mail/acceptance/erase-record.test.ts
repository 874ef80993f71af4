/** What the audit trail says of an erasing: a receipt that names nobody, once it is done, also when the answer to the wish was lost. */
import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { test } from 'node:test'
import { jetstreamManager } from '@nats-io/jetstream'
import { requestErase } from '#shared/control-client.ts'
import type { EraseReply } from '#shared/erase.ts'
import { AppError } from '#shared/errors.ts'
import type { NatsConnection } from '#shared/nats.ts'
import { TRAIL_STREAM } from '#shared/subjects.ts'
import { mailctl } from '../../cli/mailctl.ts'
import { Canaries } from '../../security/canaries.ts'
import { startNatsServer } from '../../support/nats-server.ts'
import { startProxy, type TcpProxy } from '../../support/proxy.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { recordOf, SEED } from './support.ts'
import { trailOf } from './trail-support.ts'

const ERASED = 'ada.lovelace@canary.example'
const REQUEST_ID = 'lovelace.canary'

const erase = (nc: NatsConnection, userId: string, requestId: string): Promise<EraseReply> =>
  requestErase(nc, { asUser: userId, body: {}, requestId, signal: AbortSignal.timeout(20_000) })
const eraseUntilDone = (nc: NatsConnection, userId: string): Promise<EraseReply> =>
  until('it is done', async () => {
    const reply = await erase(nc, userId, REQUEST_ID)
    return reply.state === 'done' && reply
  })

test('the receipt of a user who was erased has these keys and names nobody; who knows the user finds it by the hash', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, steady: true })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a')
  await box.connect(nc, ERASED, 'google', { n: 3 })
  await box.allLive(nc, [ERASED])
  const { receipt } = await eraseUntilDone(nc, ERASED)

  const as = { NATS_URL: box.nats.url, NATS_USER: 'service', NATS_PASSWORD: box.nats.passwords.service }
  const ran = await mailctl(['erase', '--user', ERASED, '--json'], as)
  const { receipt_subject: subject } = JSON.parse(ran.out)
  assert.equal(subject, `audit.mail.=sha256-${hash('sha256', ERASED)}.erase`)
  const message = await (await jetstreamManager(ops)).streams.getMessage(TRAIL_STREAM, { last_by_subj: subject })
  assert.ok(message !== null)
  const { id, at, ...rest } = message.json<Record<string, unknown>>()
  assert.deepEqual([id, typeof at], [receipt, 'number'])
  assert.deepEqual(rest, {
    ...{ v: 1, action: 'erase', user: subject.split('.')[2], provider: null, by: 'service' },
    ...{ instance: 'a', outcome: 'ok', request_id: null },
  })
  const canaries = new Canaries()
  for (const word of [ERASED, 'lovelace', 'canary.example', 'ada=2Elovelace=40canary=2Eexample', REQUEST_ID])
    canaries.add(word, word)
  assert.deepEqual(canaries.in(`${message.subject} ${message.header.toString()} ${message.string()}`), [])
})

/** Holds back what the server sends from the answer to the wish to erase ada on. Resolves when that is held. */
function holdAnswerToWish(proxy: TcpProxy): Promise<void> {
  let isSent = false
  // Drops nothing: it looks on.
  void proxy.dropNext('toServer', (chunk) => {
    isSent ||= chunk.includes('HPUB $KV.mail_accounts.ada.erased ')
    return false
  })
  const isAck = (text: string): boolean => /\{"stream":"KV_mail_accounts",\s*"seq":/.test(text)
  return proxy.holdFrom('toClient', (chunk) => isSent && isAck(chunk.toString('latin1')))
}

test('a wish that is written while its answer is lost has a record of the call, and its own receipt when the user is erased', async () => {
  await using nats = await startNatsServer()
  await using proxy = await startProxy(nats.port)
  // Nothing is heard of NATS for two seconds.
  const env = { MAIL_LEASE_SILENCE_MS: '20000' }
  await using box = await sandbox({ nats, env, simulator: { seed: SEED } })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  await box.start('a', { env: { NATS_URL: `nats://127.0.0.1:${proxy.port}` } })
  await box.connect(nc, 'ada', 'google', { n: 3 })
  await box.allLive(nc, ['ada'])
  await until('nothing is owed', async () => (await recordOf(ops, 'ada', 'google')).owed === undefined)

  const held = holdAnswerToWish(proxy)
  const failed = await erase(nc, 'ada', 'first').catch((error: unknown) => error)
  await held
  proxy.release()
  assert.ok(failed instanceof AppError && failed.code === 'TIMEOUT', String(failed))
  const { receipt } = await eraseUntilDone(nc, 'ada')
  const ofCalls = async () => (await trailOf(ops)).filter(({ action }) => action === 'erase')
  const records = await until('both stand there', async () => {
    const found = await ofCalls()
    return found.length === 2 && found
  })
  const outcomes = new Map(records.map(({ outcome, id }) => [outcome, id]))
  assert.deepEqual([...outcomes.keys()].toSorted(), ['TIMEOUT', 'ok'])
  assert.equal(outcomes.get('ok'), receipt)
})
