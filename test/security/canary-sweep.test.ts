/**
 * Secrets never travel: a whole system with canaries for tokens, keys, passwords and JWTs is worked hard and badly, and
 * everything that leaves its programs is searched for them: outputs, messages, answers, files.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats, headers } from '#shared/nats.ts'
import { asSubject, type ProviderName, requestSubject, SRV_INFO, SRV_PING, SRV_STATS } from '#shared/subjects.ts'
import { untilStatus } from '../mail/acceptance/support.ts'
import { startNatsServer } from '../support/nats-server.ts'
import { spellings } from './canaries.ts'
import { Sweep } from './sweep.ts'
import { type Echo, openSweepWorld, type SweepWorld } from './sweep-world.ts'

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
/** Programs that only start and end, of each kind: FULL=1 runs them all. */
const RUNS = process.env.FULL ? 9 : 3
const TOKEN_ROUTES = /\.token$/
const MAIL_ROUTES = /^(?:gmail|graph)\./

test('no token, JWT, key, password or client secret gets into an output, a message, an answer or a file', async (t) => {
  await using stack = new AsyncDisposableStack()
  const world = await openSweepWorld(stack)
  const instance = stack.use(await world.startInstance('instance'))
  const bridge = stack.use(await world.startBridge())
  await connectAll(world)
  await refusedConnects(world)
  await malformedRequests(world)
  await failingProviders(world)
  await endedGrants(world)
  await endpoints(world)
  await operators(world)
  await disconnects(world)
  await instance.end('SIGKILL')
  world.sweep.look()
  const next = stack.use(await world.startInstance('instance after SIGKILL'))
  await world.box.allLive(world.service, ['mia'])
  assert.deepEqual([await next.end('SIGTERM'), await bridge.end('SIGTERM')], [0, 0])
  await refusedStarts(world)
  world.sweep.look()
  world.sweep.tell(
    'addresses at the providers',
    world.box.sim
      .log()
      .map(({ url }) => url)
      .join('\n'),
  )
  assert.deepEqual(world.sweep.findings(), [])
  t.diagnostic(`0 secrets in ${Math.round(world.sweep.bytes / 1e5) / 10} MB`)
})

/** Over HTTP with a JWT, and over NATS as a trusted service. */
async function connectAll(world: SweepWorld): Promise<void> {
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
async function refusedConnects(world: SweepWorld): Promise<void> {
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
async function malformedRequests(world: SweepWorld): Promise<void> {
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
async function failingProviders(world: SweepWorld): Promise<void> {
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
async function endedGrants(world: SweepWorld): Promise<void> {
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

async function endpoints(world: SweepWorld): Promise<void> {
  for (const path of ['/healthz', '/readyz', '/metrics', '/openapi.json', '/'])
    await world.sweep.fetch(world.url + path)
  for (const path of ['/healthz', '/readyz', '/metrics', '/']) await world.sweep.fetch(world.metricsUrl + path)
  for (const subject of [SRV_PING, SRV_INFO, SRV_STATS]) await world.ask(subject, '')
}

async function operators(world: SweepWorld): Promise<void> {
  const jwt = world.jwt('greta')
  const lines: [args: string[], input?: string][] = [
    [['status', '--jwt', jwt]],
    [['connect', 'google', '--user', 'greta', '--json'], `{"access_token":"${world.canary('token', 'ya29.')}`],
    [['rekey', '--json']],
    [['status', '--jwt', world.canary('jwt', '')]],
    [['fleet', '--json']],
    [['doctor']],
  ]
  await Promise.all(lines.slice(0, RUNS).map(([args, input]) => world.mailctl(args, input)))
}

/** One whose revocation is answered with the token, which is then tried again. */
async function disconnects(world: SweepWorld): Promise<void> {
  const repeating = world.repeating({ routes: /\.revoke$/, as: 'error', users: ['greta'] })
  await world.post('/mail/disconnect', { provider: 'google' }, { authorization: `Bearer ${world.jwt('greta')}` })
  await repeating
  world.echo = null
}

/** Starts that are refused: what is wrong is said, but not what was given. */
async function refusedStarts(world: SweepWorld): Promise<void> {
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
    starts.slice(0, RUNS).map(async (env, n) => {
      const program = world.instance(`refused start ${n}`, env)
      assert.equal(await program.exited, 78, `refused start ${n}`)
    }),
  )
}

const SECRET = '1//secret-~>?>?x'

test('control: a canary in any place and any spelling is found, and where it has to travel it is not', async () => {
  await using stack = new AsyncDisposableStack()
  const sweep = new Sweep()
  sweep.hide('token', SECRET)
  const nats = stack.use(await startNatsServer({ conf: 'open' }))
  const log = createLog('test', 'silent')
  const options = { url: nats.url, name: 'test', inboxPrefix: '_INBOX' }
  const nc = await connectNats(options, log, AbortSignal.timeout(20_000))
  stack.defer(() => drainNats(nc, log))
  await sweep.tap(nc)
  const dir = mkdtempSync(join(tmpdir(), 'mail-sync-sweep-'))
  stack.defer(() => rmSync(dir, { recursive: true }))
  sweep.folder('data', dir)

  const texts = spellings(SECRET)
  const all = Buffer.from(texts.map(([, text]) => text).join('\n'), 'latin1')
  nc.publish('a', all)
  const hdrs = headers()
  hdrs.set('X', SECRET)
  nc.publish('b', '', { headers: hdrs })
  nc.publish(`c.${Buffer.from(SECRET).toString('hex')}`)
  for (const subject of ['mail.connect', 'mail.status', 'mail.as.ada.connect', 'mail.as.ada.why'])
    nc.publish(subject, SECRET, { headers: hdrs })
  await nc.flush()
  writeFileSync(join(dir, 'f'), all)
  writeFileSync(join(dir, Buffer.from(SECRET).toString('base64url')), '')
  sweep.look()
  const write = `for (const out of [process.stdout, process.stderr]) out.write(Buffer.from('${all.toString('hex')}', 'hex'))`
  await sweep.spawn('p', '-e', {}, [write]).exited
  const server = createServer((_request, response) => response.setHeader('x', SECRET).end(all)).listen(0, '127.0.0.1')
  stack.defer(() => void server.close())
  await once(server, 'listening')
  const address = server.address()
  await sweep.fetch(`http://127.0.0.1:${typeof address === 'object' ? address?.port : ''}/h`)

  const everySpelling = [...new Set(texts.map(([spelling]) => spelling))]
  assert.deepEqual(everySpelling.toSorted(), ['UTF-16', 'base64', 'base64url', 'hex', 'percent', 'plain'])
  const places = ['NATS data of a', 'file f in data', 'stdout of p', 'stderr of p', 'HTTP /h']
  assert.deepEqual(
    sweep
      .findings()
      .filter((finding) => !finding.startsWith('NATS subject of _INBOX'))
      .toSorted(),
    [
      ...places.flatMap((place) => everySpelling.map((spelling) => `${place}: token, ${spelling}`)),
      'NATS headers of b: token, plain',
      `NATS subject of c.${Buffer.from(SECRET).toString('hex')}: token, hex`,
      ...['mail.connect', 'mail.status', 'mail.as.ada.connect', 'mail.as.ada.why'].map(
        (subject) => `NATS headers of ${subject}: token, plain`,
      ),
      'NATS data of mail.as.ada.why: token, plain',
      'name of a file in data: token, base64url',
    ].toSorted(),
  )
})
