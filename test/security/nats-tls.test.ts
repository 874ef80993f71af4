/** TLS and nkeys as the documents tell them: a real server, real certificates, and the programs by their environment. */
import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { nkeys } from '@nats-io/nats-core'
import { readEnv } from '#shared/env.ts'
import { ExitError } from '#shared/lifecycle.ts'
import { createLog } from '#shared/log.ts'
import { connectNats, drainNats } from '#shared/nats.ts'
import { natsLogin } from '#shared/nats-login.ts'
import { mailctl } from '../cli/mailctl.ts'
import { type NatsServer, startNatsServer } from '../support/nats-server.ts'
import { sandbox } from '../support/sandbox.ts'
import { makeAuthority, makeCertificate } from './certificates.ts'
import { natsConf, settingsIn, startWith, temporaryDir } from './own-conf.ts'

const silent = createLog('test', 'silent')
type Variables = Record<string, string>

/** Connects as a program does whose environment this is; answers whether the link is encrypted. */
async function connectBy(env: Variables): Promise<boolean> {
  const login = natsLogin(readEnv('http', [], env))
  const options = { ...login, name: 'test', inboxPrefix: '_INBOX_bridge', waitMs: 1_000 }
  const nc = await connectNats(options, silent, AbortSignal.timeout(20_000))
  try {
    return nc.info?.tls_required === true
  } finally {
    await drainNats(nc, silent)
  }
}
const refused =
  (message: RegExp) =>
  (error: unknown): boolean => {
    assert.ok(error instanceof ExitError, String(error))
    assert.match(error.message, message)
    assert.equal(error.exitCode, 78)
    return true
  }

async function tlsServer(stack: AsyncDisposableStack): Promise<{ server: NatsServer; dir: string; env: Variables }> {
  const dir = await temporaryDir(stack)
  await Promise.all([makeAuthority(dir, 'ca'), makeAuthority(dir, 'other-ca')])
  await makeCertificate(dir, 'ca', 'server')
  await makeCertificate(dir, 'ca', 'bridge')
  await makeCertificate(dir, 'other-ca', 'stranger')
  const server = await startWith(stack, dir, `${await natsConf()}\n${settingsIn('docs/nats.md')[0]}`)
  const env = {
    NATS_URL: `tls://localhost:${server.port}`,
    NATS_USER: 'bridge',
    NATS_PASSWORD: server.passwords.bridge,
    NATS_TLS_CA: join(dir, 'ca.pem'),
    NATS_TLS_CERT: join(dir, 'bridge.pem'),
    NATS_TLS_KEY: join(dir, 'bridge-key.pem'),
  }
  return { server, dir, env }
}

test('with TLS as documented a program connects, and not without what proves either side', async () => {
  await using stack = new AsyncDisposableStack()
  const { dir, env } = await tlsServer(stack)
  const file = (name: string): string => join(dir, name)
  assert.equal(await connectBy(env), true)
  const untrusted = refused(/cannot be trusted .*NATS_TLS_CA/)
  await assert.rejects(connectBy({ ...env, NATS_TLS_CA: file('other-ca.pem') }), untrusted, 'another authority')
  await assert.rejects(connectBy({ ...env, NATS_TLS_CA: '' }), untrusted, 'the authorities of Node')
  const ours = refused(/refuses our certificate .*NATS_TLS_CERT/)
  await assert.rejects(connectBy({ ...env, NATS_TLS_CERT: '', NATS_TLS_KEY: '' }), ours, 'no certificate')
  const stranger = { NATS_TLS_CERT: file('stranger.pem'), NATS_TLS_KEY: file('stranger-key.pem') }
  await assert.rejects(connectBy({ ...env, ...stranger }), ours, 'one of another authority')
  await assert.rejects(connectBy({ ...env, NATS_PASSWORD: 'wrong' }), refused(/refuses NATS user bridge/))
})

test('a certificate for another host is not trusted', async () => {
  await using stack = new AsyncDisposableStack()
  const dir = await temporaryDir(stack)
  await makeAuthority(dir, 'ca')
  await makeCertificate(dir, 'ca', 'server', 'other.example')
  await makeCertificate(dir, 'ca', 'bridge')
  const server = await startWith(stack, dir, `${await natsConf()}\n${settingsIn('docs/nats.md')[0]}`)
  const env = { NATS_URL: `tls://localhost:${server.port}`, NATS_TLS_CA: join(dir, 'ca.pem') }
  await assert.rejects(connectBy(env), refused(/cannot be trusted/))
})

test('tls:// is never talked down: a server without TLS is refused, which nats:// would take', async () => {
  await using server = await startNatsServer()
  const env = { NATS_USER: 'bridge', NATS_PASSWORD: server.passwords.bridge }
  assert.equal(await connectBy({ ...env, NATS_URL: `nats://localhost:${server.port}` }), false)
  await assert.rejects(
    connectBy({ ...env, NATS_URL: `tls://localhost:${server.port}` }),
    refused(/offers no TLS, which NATS_URL or NATS_TLS_CA demands/),
  )
})

test('an instance runs over TLS and serves a program that comes over TLS', async () => {
  await using stack = new AsyncDisposableStack()
  const { server, dir, env } = await tlsServer(stack)
  await makeCertificate(dir, 'ca', 'mailsync')
  const { NATS_USER: _user, NATS_PASSWORD: _password, ...tls } = env
  const own = { NATS_TLS_CERT: join(dir, 'mailsync.pem'), NATS_TLS_KEY: join(dir, 'mailsync-key.pem') }
  const box = stack.use(await sandbox({ nats: server, env: { ...tls, ...own } }))
  await box.start('a')
  const login = natsLogin(readEnv('http', [], env))
  const nc = await connectNats(
    { ...login, name: 'test', inboxPrefix: '_INBOX_bridge' },
    silent,
    AbortSignal.timeout(20_000),
  )
  stack.defer(() => drainNats(nc, silent))
  const reply = await nc.request('mail.status', '{}', { timeout: 5_000 })
  assert.match(reply.string(), /TOKEN_MISSING/)
  const cli = { ...env, NATS_USER: 'service', NATS_PASSWORD: server.passwords.service }
  assert.match((await mailctl(['micro'], cli)).out, /mail-sync/)
  const untrusted = await mailctl(['micro'], { ...cli, NATS_TLS_CA: '' })
  assert.deepEqual([untrusted.code, untrusted.out], [1, ''])
  assert.match(untrusted.err, /cannot be trusted .*NATS_TLS_CA/)
})

test('files that cannot be used are told by name before anything is connected, and nothing of them is shown', async () => {
  await using stack = new AsyncDisposableStack()
  const dir = await temporaryDir(stack)
  await makeAuthority(dir, 'ca')
  await makeCertificate(dir, 'ca', 'one')
  await makeCertificate(dir, 'ca', 'two')
  writeFileSync(join(dir, 'garbage.pem'), 'canary')
  const file = (name: string): string => join(dir, name)
  const cases: [Variables, RegExp][] = [
    [{ NATS_TLS_CA: file('none.pem') }, /^NATS_TLS_CA: \S+ cannot be read \(ENOENT\)/],
    [{ NATS_TLS_CA: file('garbage.pem') }, /^NATS_TLS_CA: \S+ is not what is needed, in PEM/],
    [{ NATS_TLS_CERT: file('one.pem') }, /^NATS_TLS_CERT and NATS_TLS_KEY belong together/],
    [{ NATS_TLS_KEY: file('one-key.pem') }, /^NATS_TLS_CERT and NATS_TLS_KEY belong together/],
    [{ NATS_TLS_CERT: file('one.pem'), NATS_TLS_KEY: file('garbage.pem') }, /^NATS_TLS_KEY: \S+ is not what is needed/],
    [{ NATS_TLS_CERT: file('one-key.pem'), NATS_TLS_KEY: file('one-key.pem') }, /^NATS_TLS_CERT: \S+ is not what/],
    [{ NATS_TLS_CERT: file('one.pem'), NATS_TLS_KEY: file('two-key.pem') }, /is not the key of the certificate/],
    [{ NATS_NKEY_SEED: 'canary' }, /^NATS_NKEY_SEED is no seed of a NATS user: it begins with SU$/],
    [{ NATS_NKEY_SEED: seedOf(nkeys.createAccount()) }, /^NATS_NKEY_SEED is no seed of a NATS user/],
  ]
  for (const [env, message] of cases) {
    assert.throws(() => natsLogin(readEnv('http', [], env)), refused(message))
    assert.throws(
      () => natsLogin(readEnv('http', [], env)),
      (error) => !String(error).includes('canary'),
    )
  }
})

const seedOf = (pair: ReturnType<typeof nkeys.createUser>): string => new TextDecoder().decode(pair.getSeed())

test('tokens do not go to another machine in plain text, unless that is asked for', () => {
  const login = (env: Variables) => natsLogin(readEnv('http', [], env))
  const plain = refused(/^NATS_URL: nats:\/\/n2:4222 is not on this machine, .* set NATS_PLAINTEXT=1/)
  for (const url of ['nats://n2:4222', 'nats://localhost:4222,nats://n2:4222'])
    assert.throws(() => login({ NATS_URL: url }), plain)
  assert.throws(() => login({ NATS_URL: 'n2', NATS_PLAINTEXT: '0' }), refused(/^NATS_URL: n2 is not on this machine/))
  const local = 'nats://localhost:4222,nats://127.0.0.1,nats://127.0.1.1,nats://[::1]:4222'
  for (const env of [{ NATS_URL: local }, { NATS_URL: 'nats://n2', NATS_PLAINTEXT: '1' }, { NATS_URL: 'tls://n2' }])
    assert.equal(login(env).url, env.NATS_URL)
})

test('with an nkey in place of the password a role has its permissions, and another key is refused', async () => {
  await using stack = new AsyncDisposableStack()
  const [mailsync, bridge] = [nkeys.createUser(), nkeys.createUser()]
  const conf = (await natsConf())
    .replace('user: mailsync, password: $NATS_MAILSYNC_PASSWORD', `nkey: ${mailsync.getPublicKey()}`)
    .replace('user: bridge, password: $NATS_BRIDGE_PASSWORD', `nkey: ${bridge.getPublicKey()}`)
  const server = await startWith(stack, await temporaryDir(stack), conf)
  const login = { NATS_URL: server.url, NATS_PASSWORD: '' }
  const box = stack.use(await sandbox({ nats: server, env: { ...login, NATS_NKEY_SEED: seedOf(mailsync) } }))
  await box.start('a')

  const env = { ...login, NATS_USER: 'bridge', NATS_NKEY_SEED: seedOf(bridge) }
  const options = { ...natsLogin(readEnv('http', [], env)), name: 'test', inboxPrefix: '_INBOX_bridge' }
  const nc = await connectNats(options, silent, AbortSignal.timeout(20_000))
  stack.defer(() => drainNats(nc, silent))
  assert.match((await nc.request('mail.status', '{}', { timeout: 5_000 })).string(), /TOKEN_MISSING/)
  await assert.rejects(nc.request('mail.as.ada.status', '{}', { timeout: 2_000 }), /permissions violation/i)
  assert.ok(!JSON.stringify(options).includes(seedOf(bridge)))
  await assert.rejects(
    connectBy({ ...env, NATS_NKEY_SEED: seedOf(nkeys.createUser()) }),
    refused(/refuses NATS user bridge: check .*NATS_NKEY_SEED/),
  )
})
