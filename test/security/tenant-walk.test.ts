/**
 * Twenty users, each with a canary, and random requests over HTTP and NATS with own, borrowed and forged tokens: no byte of
 * one user gets into an answer, an event, a record or a file of another.
 */
import assert from 'node:assert/strict'
import { globSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { jetstream } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { BUCKET_ACCOUNTS, BUCKET_STATE, EVENT_STREAM, eventSubject } from '#shared/subjects.ts'
import { decodeUser } from '#shared/user-token.ts'
import { dice, SEED } from '../mail/acceptance/support.ts'
import { trailOf } from '../mail/acceptance/trail-support.ts'
import { startIssuer } from '../shared/issuer.ts'
import { amount } from './amount.ts'
import { startBridge } from './bridge.ts'
import { DISCONNECT, FOREIGN_STEPS, lookers, OWN_STEPS, type Walk } from './tenant-steps.ts'
import { connectAll, openTenants, type Tenant } from './tenants.ts'
import { forgeKey } from './token-forge.ts'

const USERS = 20
const OPERATIONS = amount(400, 20_000, 20_000)
const IN_FLIGHT = 10

async function openWalk(stack: AsyncDisposableStack, users: number): Promise<Walk> {
  const [honest, thief] = [forgeKey('key', 'EdDSA'), forgeKey('key', 'EdDSA')]
  const issuer = stack.use(await startIssuer([honest.jwk]))
  const env = { BETTER_AUTH_JWKS_URL: issuer.jwksUrl, MAIL_SYNC_INTERVAL_MS: '2000' }
  const tenants = await openTenants(users, env)
  const box = stack.use(tenants.box)
  await Promise.all([box.start('a'), box.start('b')])
  const [service, bridge] = [await box.connection('service'), await box.connection('bridge')]
  await connectAll(tenants, service)
  const { url } = await startBridge(stack, box)
  const looks = await lookers(await box.connection('ops'))
  return { tenants, url, service, bridge, ...looks, issuer: issuer.url, honest, thief }
}

/** The code of an error answer; null for any other answer. */
function codeOf(text: string): string | null {
  const body = text.slice(text.indexOf('\n') + 1)
  return body.startsWith('{') ? (JSON.parse(body).error?.code ?? null) : null
}

const assertNothingForeign = (walk: Walk, where: string, bytes: Uint8Array | string, owner: Tenant | null): void =>
  assert.deepEqual(walk.tenants.foreignIn(bytes, owner), [], `${where} (TEST_SEED=${SEED})`)

/** One random step; answers what it was and what came of it. */
async function step(walk: Walk, roll: ReturnType<typeof dice>): Promise<string> {
  const { all } = walk.tenants
  const [mine, others, kind, which] = [roll(0, USERS - 1), roll(1, USERS - 1), roll(0, 99), roll(0, 999)]
  const me = all[mine] as Tenant
  const other = all[(mine + others) % USERS] as Tenant
  const steps = kind < 60 ? OWN_STEPS : FOREIGN_STEPS
  const chosen = kind === 99 ? DISCONNECT : steps[which % steps.length]
  const { asked, owner, text } = await (chosen ?? DISCONNECT)(walk, me, other)
  assertNothingForeign(walk, asked, text, owner)
  const code = typeof text === 'string' ? codeOf(text) : null
  if (asked.startsWith('refused')) assert.match(String(code), /^(TOKEN_INVALID|BAD_REQUEST|RATE_LIMITED)$/, asked)
  if (asked.startsWith('denied')) assert.match(String(text), /Permission|RequestError/)
  return `${asked.split(':')[0]}: ${code ?? 'answered'}`
}

test('in a random walk of many users no answer, event, record or file has a byte of another user', async (t) => {
  await using stack = new AsyncDisposableStack()
  const walk = await openWalk(stack, USERS)
  const roll = dice(SEED)
  const told = new Map<string, number>()
  let left = OPERATIONS
  await Promise.all(
    Array.from({ length: IN_FLIGHT }, async () => {
      while (left-- > 0) {
        const what = await step(walk, roll)
        told.set(what, (told.get(what) ?? 0) + 1)
      }
    }),
  )
  for (const way of ['http', 'nats', 'as']) assert.ok(told.has(`own status ${way}: answered`), way)
  t.diagnostic(`${OPERATIONS} operations of ${USERS} users, 0 foreign bytes`)
  t.diagnostic(
    [...told]
      .map((each) => each.join(' '))
      .toSorted()
      .join(', '),
  )
  const { events, records, files } = await lookEverywhere(walk)
  t.diagnostic(`0 foreign bytes in ${events} events, ${records} records and ${files} files`)
})

test('control: a byte of another user is noticed in an answer, a file, a record and an event', async () => {
  await using stack = new AsyncDisposableStack()
  const walk = await openWalk(stack, 2)
  const { all, box } = walk.tenants
  const [me, other] = all as [Tenant, Tenant]
  await lookEverywhere(walk)
  assert.throws(() => assertNothingForeign(walk, 'an answer', JSON.stringify({ to: other.canary }), me), /an answer/)

  const [folder = ''] = globSync(`*/users/${me.userId}`, { cwd: box.dir })
  const file = join(box.dir, folder, 'planted')
  writeFileSync(file, Buffer.from(`..${other.canary}`).toString('base64'))
  await assert.rejects(lookEverywhere(walk), /planted/)
  rmSync(file)

  const nc = await box.connection('mailsync')
  const state = await new Kvm(nc).open(BUCKET_STATE)
  await state.put(`${me.userId}.planted`, other.credentials.refresh_token)
  await assert.rejects(lookEverywhere(walk), /planted/)
  await state.purge(`${me.userId}.planted`)
  await lookEverywhere(walk)

  await jetstream(nc).publish(eventSubject(me.userId), JSON.stringify({ to: me.canary, subject: other.canary }))
  await assert.rejects(lookEverywhere(walk), new RegExp(me.userId))
})

/** Every event, record and file against its owner. */
async function lookEverywhere(walk: Walk): Promise<{ events: number; records: number; files: number }> {
  const { all, box } = walk.tenants
  const byId = new Map(all.map((tenant) => [tenant.userId, tenant]))
  const ownerOf = (token: string | undefined): Tenant => {
    const owner = byId.get(decodeUser(token ?? ''))
    assert.ok(owner !== undefined, token)
    return owner
  }
  const erasures = (await trailOf(await box.connection('ops'))).filter(({ action }) => action === 'erase')
  assert.deepEqual(erasures, [], 'nobody was erased')
  let events = 0
  for (let seq = 1; ; events++) {
    // Known to every server that we take; the type of the library knows it for direct gets only.
    const query = { seq, next_by_subj: '>' }
    const message = await walk.jsm.streams.getMessage(EVENT_STREAM, query)
    if (message === null) break
    const owner = ownerOf(message.subject.split('.')[1])
    const bytes = Buffer.concat([Buffer.from(message.subject), Buffer.from(message.header.toString()), message.data])
    assertNothingForeign(walk, message.subject, bytes, owner)
    assert.ok(message.string().includes(owner.canary), 'an event has the canary of its owner')
    seq = message.seq + 1
  }
  let records = 0
  for (const bucket of [BUCKET_ACCOUNTS, BUCKET_STATE]) {
    const kv = await new Kvm(await box.connection('ops')).open(bucket)
    for await (const key of await kv.keys()) {
      const bytes = Buffer.concat([Buffer.from(key), (await kv.get(key))?.value ?? Buffer.alloc(0)])
      assertNothingForeign(walk, `${bucket} ${key}`, bytes, ownerOf(key.split('.')[0]))
      records++
    }
  }
  const files = globSync('*/users/*/*', { cwd: box.dir })
  for (const file of files)
    assertNothingForeign(walk, file, readFileSync(join(box.dir, file)), ownerOf(file.split('/')[2]))
  assert.ok(events >= 3 * all.length && records >= all.length && files.length >= all.length)
  return { events, records, files: files.length }
}
