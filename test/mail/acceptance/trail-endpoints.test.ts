/** Of each endpoint it is decided whether a call changes an account, and so has a record on the audit trail, or only asks. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { v7 } from 'uuid'
import { headers, type NatsConnection } from '#shared/nats.ts'
import { infoOfInstances } from '#shared/service-view.ts'
import { HEADER_AUTHORIZATION, HEADER_ERROR, HEADER_REQUEST_ID, HEADER_USER } from '#shared/subjects.ts'
import type { TrailRecord } from '#shared/trail.ts'
import type { Credentials } from '../../simulator/types.ts'
import type { NatsRole } from '../../support/nats-server.ts'
import { sandbox } from '../../support/sandbox.ts'
import { until } from '../../support/until.ts'
import { recordOf, SEED } from './support.ts'
import { trailOf } from './trail-support.ts'

type Call = { body?: unknown; role?: NatsRole; user?: string; header?: Record<string, string> }
type World = { jwt: string; tokens: Credentials[] }

const connectBody = (tokens: Credentials | undefined) => {
  assert.ok(tokens !== undefined)
  const { access_token, refresh_token, expires_in } = tokens
  return { provider: 'google', access_token, refresh_token, expires_in }
}
const own = ({ jwt }: World): Record<string, string> => ({ [HEADER_AUTHORIZATION]: `Bearer ${jwt}` })
const asInstance: Call = { role: 'mailsync', header: { [HEADER_USER]: 'ada' } }

/** A call that does something has one record, whatever it changes. In the order in which they are made. */
const HAVE_A_RECORD: Record<string, (world: World) => Call> = {
  connect: (world) => ({ body: connectBody(world.tokens[0]), header: own(world) }),
  disconnect: (world) => ({ body: { provider: 'google' }, header: own(world) }),
  'as-connect': ({ tokens }) => ({ body: connectBody(tokens[1]), user: 'grace' }),
  'as-disconnect': () => ({ body: { provider: 'google' }, user: 'grace' }),
  rekey: () => ({ body: { to: 'new' } }),
  'as-erase': () => ({ body: {}, user: 'ada' }),
}

/** These change no account. An audit may be begun: what it fetches is mail that the connect has asked for. */
const ONLY_ASK: Record<string, (world: World) => Call> = {
  status: (world) => ({ body: {}, header: own(world) }),
  'as-status': () => ({ body: {} }),
  'at-status': () => ({ body: 'ada', role: 'mailsync' }),
  'as-why': () => ({ body: { message_id: 'none' } }),
  'at-why': () => ({ ...asInstance, body: { message_id: 'none' } }),
  'as-quarantine': () => ({ body: {} }),
  'at-quarantine': () => ({ ...asInstance, body: {} }),
  'as-audit': () => ({ body: { start: true } }),
  'at-audit': () => ({ ...asInstance, body: { start: true } }),
  fleet: () => ({ body: {} }),
}

async function send(nc: NatsConnection, subject: string, { body, header = {} }: Call): Promise<string> {
  const hdrs = headers()
  const id = v7()
  hdrs.set(HEADER_REQUEST_ID, id)
  for (const [name, value] of Object.entries(header)) hdrs.set(name, value)
  const payload = typeof body === 'string' ? body : JSON.stringify(body)
  const reply = await nc.request(subject, payload, { timeout: 15_000, headers: hdrs })
  assert.equal(reply.headers?.get(HEADER_ERROR) || 'ok', 'ok', subject)
  return id
}

test('each endpoint either has one record of each call on the audit trail, or only asks and has none', async () => {
  await using box = await sandbox({ simulator: { seed: SEED }, betterAuth: true, steady: true })
  const [nc, ops] = [await box.connection('service'), await box.connection('ops')]
  const instance = await box.connection('mailsync')
  const key = (kid: string): string => `${kid}:${randomBytes(32).toString('base64url')}`
  const [old, next] = [key('old'), key('new')]
  const before = await box.start('a', { env: { MAIL_TOKEN_KEYS: old } })
  await box.connect(nc, 'ada', 'google', { n: 3 })
  await box.allLive(nc, ['ada'])
  await before.stop()
  await box.start('a', { env: { MAIL_TOKEN_KEYS: `${next},${old}` } })
  await box.allLive(nc, ['ada'])
  const user = await box.auth?.signUp('user@example.com')
  assert.ok(user !== undefined)
  const tokens = ['first', 'second'].map((name) => box.sim.addMailbox({ user: name, provider: 'google', n: 3 }))
  const world: World = { jwt: await user.jwt(), tokens }

  const [info, ...others] = await infoOfInstances(nc, 5_000)
  assert.ok(info !== undefined && others.length === 0)
  const all = { ...ONLY_ASK, ...HAVE_A_RECORD }
  assert.deepEqual(
    info.endpoints.map(({ name }) => name).toSorted(),
    Object.keys(all).toSorted(),
    'each endpoint stands on one of the lists',
  )
  const subjects = new Map(info.endpoints.map(({ name, subject }) => [name, subject]))
  const ofCalls = async (): Promise<TrailRecord[]> =>
    (await trailOf(ops)).filter(({ by }) => by === 'user' || by === 'service')
  await until('nothing is owed', async () => (await recordOf(ops, 'ada', 'google')).owed === undefined)
  const earlier = (await ofCalls()).length
  const made = async (name: string, call: Call): Promise<string> => {
    const subject = (subjects.get(name) ?? '').replace('as.*', `as.${call.user ?? 'ada'}`)
    return await send(call.role === 'mailsync' ? instance : nc, subject, call)
  }
  for (const [name, call] of Object.entries(ONLY_ASK)) await made(name, call(world))
  const ids = new Map<string, string>()
  for (const [name, call] of Object.entries(HAVE_A_RECORD)) {
    const id = await made(name, call(world))
    ids.set(name, id)
    await until(`${name} has its record`, async () => (await ofCalls()).some(({ request_id }) => request_id === id))
  }
  const records = (await ofCalls()).slice(earlier)
  assert.deepEqual(
    records.map(({ request_id }) => request_id),
    [...ids.values()],
    'one of each, in their order, and no other',
  )
})
