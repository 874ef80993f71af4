import assert from 'node:assert/strict'
import test from 'node:test'
import { type ErrorBody, gmail, graph, refresh } from './requests.ts'
import { startSimulator } from './simulator.ts'

const google = { user: 'u1', provider: 'google' } as const
const microsoft = { user: 'u1', provider: 'microsoft' } as const
const START = Date.UTC(2026, 5, 1)

interface Tokens {
  access_token: string
  refresh_token?: string
  error?: string
}

test('the 301st get of a minute is refused with the time at which it may be asked again', async () => {
  let now = START
  await using simulator = await startSimulator({ profile: '2026-05', now: () => now, graceMs: 0 })
  const who = simulator.addMailbox({ ...google, n: 1 })
  const id = simulator.mutate({ type: 'deliver', ...google })
  for (let at = 0; at < 300; at++)
    assert.equal((await gmail(simulator, who, `messages/${id}?format=minimal`)).status, 200)
  const refused = await gmail<ErrorBody>(simulator, who, `messages/${id}`)
  assert.equal(refused.status, 403)
  assert.equal(refused.headers.get('retry-after'), null)
  assert.equal(refused.body.error.errors?.[0]?.reason, 'userRateLimitExceeded')
  assert.equal(
    refused.body.error.message,
    `User-rate limit exceeded.  Retry after ${new Date(START + 60_000).toISOString()}`,
  )

  const early = await gmail<ErrorBody>(simulator, who, `messages/${id}`)
  assert.match(
    early.body.error.message,
    new RegExp(new Date(START + 65_000).toISOString()),
    'asking too early moves it later',
  )
  assert.deepEqual([simulator.ledger().earlyRetries, simulator.ledger().overdraft], [1, 40])

  now = START + 65_000
  assert.equal((await gmail(simulator, who, `messages/${id}`)).status, 200)
  assert.equal(simulator.ledger().earlyRetries, 1)
  assert.equal(simulator.ledger().mailboxes['google:u1']?.peak, 6000)
})

test('the legacy profile allows 3,000 gets of 5 units a minute', async () => {
  await using simulator = await startSimulator({ profile: 'legacy' })
  const who = simulator.addMailbox({ ...google, n: 1 })
  const id = simulator.mutate({ type: 'deliver', ...google })
  await gmail(simulator, who, `messages/${id}`)
  await gmail(simulator, who, 'messages')
  assert.equal(simulator.ledger().mailboxes['google:u1']?.used, 10)
})

test('a fifth request in flight is refused by Graph with Retry-After', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...microsoft, n: 5 })
  const route = 'graph.mailFolders.list'
  for (let nth = 1; nth <= 4; nth++) simulator.faults.add({ match: { route, nth }, fault: { type: 'delay', ms: 150 } })
  const replies = await Promise.all(Array.from({ length: 5 }, () => graph<ErrorBody>(simulator, who, 'mailFolders')))
  const [refused, ...others] = replies.filter(({ status }) => status === 429)
  assert.equal(others.length, 0)
  assert.equal(refused?.headers.get('retry-after'), '1')
  assert.equal(refused?.body.error.code, 'ApplicationThrottled')
  assert.equal(simulator.ledger().mailboxes['microsoft:u1']?.peakInflight, 5)
})

test('a request before the time that a scripted fault announced is an early retry', async () => {
  let now = START
  await using simulator = await startSimulator({ now: () => now, graceMs: 0 })
  const who = simulator.addMailbox({ ...microsoft, n: 1 })
  simulator.faults.add({ match: { nth: 1 }, fault: { type: '429', retryAfter: 7 } })
  assert.equal((await graph(simulator, who, 'mailFolders')).headers.get('retry-after'), '7')
  now += 6999
  await graph(simulator, who, 'mailFolders')
  now += 1
  await graph(simulator, who, 'mailFolders')
  assert.equal(simulator.ledger().earlyRetries, 1)
})

test('missing, unknown, expired and foreign tokens answer 401 in the shape of the provider', async () => {
  let now = START
  await using simulator = await startSimulator({ now: () => now })
  const who = simulator.addMailbox({ ...google, n: 1 })
  const outlook = simulator.addMailbox({ ...microsoft, n: 1 })
  const unknown = { ...who, access_token: 'nothing' }
  for (const one of [unknown, outlook]) {
    const { status, body } = await gmail<ErrorBody>(simulator, one, 'profile')
    assert.equal(status, 401)
    assert.equal(body.error.errors?.[0]?.reason, 'authError')
  }
  assert.equal(
    (await graph<ErrorBody>(simulator, unknown, 'mailFolders')).body.error.code,
    'InvalidAuthenticationToken',
  )
  assert.equal((await gmail(simulator, who, 'profile')).status, 200)
  now += 3600_000
  assert.equal((await gmail(simulator, who, 'profile')).status, 401)
  const fresh = (await (await refresh(simulator.env.MAIL_GOOGLE_TOKEN_URL, who)).json()) as Tokens
  assert.equal((await gmail(simulator, { ...who, ...fresh, refresh_token: '' }, 'profile')).status, 200)
})

test('Microsoft rotates refresh tokens always, Google never unless told, and strict kills the old one', async () => {
  await using simulator = await startSimulator({ strictRotation: true })
  const who = simulator.addMailbox({ ...google, n: 1 })
  const outlook = simulator.addMailbox({ ...microsoft, n: 1 })
  const kept = (await (await refresh(simulator.env.MAIL_GOOGLE_TOKEN_URL, who)).json()) as Tokens
  assert.equal(kept.refresh_token, undefined)
  const url = simulator.env.MAIL_MICROSOFT_TOKEN_URL
  const rotated = (await (await refresh(url, outlook)).json()) as Tokens
  assert.ok(rotated.refresh_token)
  const stale = await refresh(url, outlook)
  assert.deepEqual([stale.status, ((await stale.json()) as Tokens).error], [400, 'invalid_grant'])
  assert.equal((await refresh(url, { ...outlook, refresh_token: rotated.refresh_token ?? '' })).status, 200)
})

test('a revoked grant refuses its tokens; a new sign-in works', async () => {
  await using simulator = await startSimulator()
  const who = simulator.addMailbox({ ...google, n: 1 })
  const revoke = () =>
    fetch(simulator.env.MAIL_GOOGLE_REVOKE_URL, {
      method: 'POST',
      body: new URLSearchParams({ token: who.refresh_token }),
    })
  assert.equal((await revoke()).status, 200)
  assert.equal((await revoke()).status, 400)
  assert.equal((await gmail(simulator, who, 'profile')).status, 401)
  assert.equal((await refresh(simulator.env.MAIL_GOOGLE_TOKEN_URL, who)).status, 400)
  assert.equal((await gmail(simulator, simulator.credentials('u1', 'google'), 'profile')).status, 200)
  assert.ok(!JSON.stringify(simulator.log()).includes(who.refresh_token))
})
