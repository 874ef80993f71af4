/**
 * What the canary sweep does to the system: connects, requests, faults, sign-ins, looks, erasures and starts, the good ones and
 * those that are refused. Nothing here looks for a canary.
 */
import assert from 'node:assert/strict'
import {
  asSubject,
  eraseSubject,
  INSPECTIONS,
  type ProviderName,
  requestSubject,
  SRV_INFO,
  SRV_PING,
  SRV_STATS,
} from '#shared/subjects.ts'
import { untilStatus } from '../mail/acceptance/support.ts'
import { until } from '../support/until.ts'
import type { Echo, SweepWorld } from './sweep-world.ts'

const USERS = [
  ['greta', 'google'],
  ['mia', 'microsoft'],
] as const satisfies [string, ProviderName][]
/** Whose requests the provider refuses for good. */
const REFUSED = [
  ['rex', 'google'],
  ['rita', 'microsoft'],
] as const satisfies [string, ProviderName][]
const ids = USERS.map(([userId]) => userId)
const TOKEN_ROUTES = /\.token$/
const MAIL_ROUTES = /^(?:gmail|graph)\./

/** Over HTTP with a JWT, and over NATS as a trusted service. */
export async function connectAll(world: SweepWorld): Promise<void> {
  for (const [userId, provider] of [...USERS, ...REFUSED]) {
    const { access_token, refresh_token, expires_in } = world.signIn(userId, provider, true)
    const body = { provider, access_token, refresh_token, expires_in }
    if (provider === 'microsoft') await world.ask(asSubject(userId, 'connect'), body)
    else {
      const { status, text } = await world.post('/mail/connect', body, { authorization: `Bearer ${world.jwt(userId)}` })
      assert.equal(status, 200, text)
    }
  }
  await world.box.allLive(world.service, [...ids, ...REFUSED.map(([userId]) => userId)])
}

/** Tokens of nobody, and providers that repeat what they were sent, at the moment of a connect. */
export async function refusedConnects(world: SweepWorld): Promise<void> {
  const modes: (Omit<Echo, 'users'> | null)[] = [null]
  for (const routes of [TOKEN_ROUTES, MAIL_ROUTES])
    for (const as of ['error', 'outage', 'grant', 'garbage'] as const) modes.push({ routes, as })
  let n = 0
  for (const mode of modes)
    for (const provider of ['google', 'microsoft'] as const) {
      const user = `refused${n++}`
      // An access token of nobody leads to a refresh.
      const nobody = { access_token: world.canary('token', 'ya29.'), refresh_token: world.canary('token', '1//') }
      const real = mode === null ? nobody : world.signIn(user, provider, true)
      const access = mode?.routes === MAIL_ROUTES ? real : nobody
      world.echo = mode === null ? null : { ...mode, users: [user] }
      const tokens = { access_token: access.access_token, refresh_token: real.refresh_token }
      const body = { provider, ...tokens, expires_in: 60 }
      const { status } = await world.post('/mail/connect', body, { authorization: `Bearer ${world.jwt(user)}` })
      assert.ok([200, 422, 503].includes(status), `${status} at ${JSON.stringify(mode)}`)
      if (mode !== null) assert.ok(world.echoed.has(user), `${user} has met ${mode.as}`)
    }
  world.echo = null
}

/** Tokens and JWTs where they do not belong, over HTTP and NATS: all is refused, nothing is repeated. */
export async function malformedRequests(world: SweepWorld): Promise<void> {
  const authorization = `Bearer ${world.jwt('greta')}`
  const token = world.canary('token', 'ya29.')
  const fields = {
    provider: 'google',
    access_token: token,
    refresh_token: world.canary('token', '1//'),
    expires_in: 60,
  }
  const bodies: (string | object)[] = [
    { ...fields, access_token: { token } },
    { ...fields, provider: token },
    { ...fields, expires_in: token },
    { ...fields, inbox_id: token },
    { ...fields, access_token: `${token} ` },
    { ...fields, token },
    [token],
    token,
    `"${token}"`,
    `{"access_token":"${token}`,
    `{"access_token":"${token}"${' '.repeat(70_000)}}`,
  ]
  for (const body of bodies) {
    const { status, text } = await world.post('/mail/connect', body, { authorization })
    assert.ok(status === 400 || status === 413, text)
    if (JSON.stringify(body).length < 60_000) await world.ask(asSubject('greta', 'connect'), body)
  }
  await world.post('/mail/connect', token, { authorization, 'content-type': 'text/plain' })
  const credentials = [
    `Bearer ${world.jwt('greta', 'expired')}`,
    `Bearer ${world.jwt('greta', 'forged')}`,
    `Bearer ${world.canary('jwt', '')}`,
    `Basic ${world.canary('jwt', '')}`,
    `Bearer ${world.canary('jwt', 'eyJ9.')}.${world.canary('jwt', '')}`,
  ]
  for (const refused of credentials) {
    assert.equal((await world.post('/mail/connect', fields, { authorization: refused })).status, 401)
    await world.ask(requestSubject('connect'), fields, refused)
  }
  const get = (path: string): Promise<unknown> => world.sweep.fetch(world.url + path, { headers: { authorization } })
  await get(`/mail/status?access_token=${token}`)
  await get(`/mail/${token}`)
}

/** While mailboxes are polled: errors and bodies that repeat tokens. */
export async function failingProviders(world: SweepWorld): Promise<void> {
  for (const as of ['outage', 'garbage'] as const) await world.repeating({ routes: MAIL_ROUTES, as, users: ids })
  await world.repeating({ routes: MAIL_ROUTES, as: 'error', users: REFUSED.map(([userId]) => userId) })
  for (const [userId, provider] of REFUSED)
    await untilStatus(
      world.box,
      world.service,
      userId,
      provider,
      'an error',
      ({ last_error }) => last_error !== null,
      60_000,
    )
  world.echo = null
}

/** Refreshes whose answers repeat the tokens and at last end the grant; then a new sign-in by mailctl. */
export async function endedGrants(world: SweepWorld): Promise<void> {
  const { box, service } = world
  for (const [userId, provider] of USERS)
    box.sim.faults.add({
      match: { mailbox: box.simUser(userId), provider },
      fault: { type: '401untilRefresh' },
      times: 1,
    })
  for (const as of ['garbage', 'grant'] as const) await world.repeating({ routes: TOKEN_ROUTES, as, users: ids })
  for (const [userId, provider] of USERS)
    await untilStatus(box, service, userId, provider, 'needs_reauth', ({ state }) => state === 'needs_reauth', 60_000)
  world.echo = null
  for (const [userId, provider] of USERS)
    assert.equal(
      await world.mailctl(['connect', provider, '--user', userId], JSON.stringify(world.signIn(userId, provider))),
      0,
    )
  await box.allLive(service, ids)
}

export async function endpoints(world: SweepWorld): Promise<void> {
  for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json', '/'])
    await world.sweep.fetch(world.url + path)
  for (const path of ['/healthz', '/readyz', '/metrics', '/']) await world.sweep.fetch(world.metricsUrl + path)
  for (const subject of [SRV_PING, SRV_INFO, SRV_STATS]) await world.ask(subject, '')
}

/** What trusted services ask about a user: each is answered. */
export async function inspections(world: SweepWorld): Promise<void> {
  for (const [userId, provider] of USERS) {
    const message_id = world.messageOf(userId, provider)
    const bodies = { why: { message_id }, quarantine: {}, audit: {} }
    for (const name of INSPECTIONS) {
      const reply = JSON.parse(await world.ask(asSubject(userId, name), bodies[name]))
      assert.equal(reply.user_id, userId, `${name} ${JSON.stringify(reply)}`)
    }
  }
}

export async function operators(world: SweepWorld): Promise<void> {
  const jwt = world.jwt('greta')
  const lines: [args: string[], input?: string][] = [
    [['status', '--jwt', jwt]],
    [['connect', 'google', '--user', 'greta', '--json'], `{"access_token":"${world.canary('token', 'ya29.')}`],
    [['rekey', '--json']],
    [['status', '--jwt', world.canary('jwt', '')]],
    [['fleet', '--json']],
    [['doctor']],
    [['why', '--user', 'mia', '--message', world.messageOf('mia', 'microsoft')]],
    [['quarantine', '--user', 'mia', '--json']],
    [['audit', '--user', 'mia']],
  ]
  await Promise.all(lines.map(([args, input]) => world.mailctl(args, input)))
}

/** One whose revocation is answered with the token, which is then tried again. */
export async function disconnects(world: SweepWorld): Promise<void> {
  const repeating = world.repeating({ routes: /\.revoke$/, as: 'error', users: ['greta'] })
  await world.post('/mail/disconnect', { provider: 'google' }, { authorization: `Bearer ${world.jwt('greta')}` })
  await repeating
  world.echo = null
}

/** Users who are erased: by themselves, by a trusted service while the provider repeats the token, and by mailctl. */
export async function erasures(world: SweepWorld): Promise<void> {
  const authorization = `Bearer ${world.jwt('greta')}`
  const body = { provider: 'google', erase: true }
  assert.equal((await world.post('/mail/disconnect', body, { authorization })).status, 200)
  const repeating = world.repeating({ routes: /\.revoke$/, as: 'error', users: ['rex'] })
  const erase = async (user: string): Promise<string> => JSON.parse(await world.ask(eraseSubject(user), '{}')).state
  assert.equal(await erase('rex'), 'running')
  await repeating
  world.echo = null
  assert.equal(await world.mailctl(['erase', '--user', 'rita', '--json']), 0)
  for (const user of ['greta', 'rex', 'rita'])
    await until(`${user} is erased`, async () => (await erase(user)) === 'done', { timeoutMs: 60_000 })
}

/** Starts that are refused: what is wrong is said, but not what was given. */
export async function refusedStarts(world: SweepWorld): Promise<void> {
  const { sweep } = world
  const short = world.canary('key', '')
  const starts: Record<string, string>[] = [
    {
      NATS_URL: `nats://me:${world.canary('password', '')}@127.0.0.1`,
      MAIL_GOOGLE_TOKEN_URL: `https://me:${world.canary('password', '')}@localhost`,
    },
    { MAIL_TOKEN_KEYS: `k1:${short}` },
    { MAIL_TOKEN_KEYS: `k2:${sweep.hide('key', Buffer.alloc(32, short).toString('base64url'))}` },
    { NATS_PASSWORD: world.canary('password', '') },
    { MAIL_TOKEN_KEYS: '', MAIL_TOKEN_KEY_COMMAND: `echo k1:${short}` },
  ]
  await Promise.all(
    starts.map(async (env, n) => {
      const program = world.instance(`refused start ${n}`, env)
      assert.equal(await program.exited, 78, `refused start ${n}`)
    }),
  )
}
