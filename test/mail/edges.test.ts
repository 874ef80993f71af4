/** The edges on the real service: a user of Better Auth over HTTP, and an operator with mailctl. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLog } from '#shared/log.ts'
import { runBridge } from '../../services/http/app.ts'
import { readHttpConfig } from '../../services/http/config.ts'
import { mailctl } from '../cli/mailctl.ts'
import { type Sandbox, sandbox } from '../support/sandbox.ts'
import { until } from '../support/until.ts'

async function startBridge(box: Sandbox): Promise<AsyncDisposable & { url: string }> {
  const stop = new AbortController()
  const listening = Promise.withResolvers<string>()
  const env = { ...box.env('bridge'), NATS_USER: 'bridge', NATS_PASSWORD: box.nats.passwords.bridge, HTTP_PORT: '0' }
  const running = runBridge(readHttpConfig(env), createLog('http', 'silent'), stop.signal, listening.resolve)
  running.catch(listening.reject)
  return {
    url: await listening.promise,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await running
    },
  }
}

test('a user of Better Auth connects, watches and disconnects a mailbox over HTTP', async () => {
  await using box = await sandbox({ betterAuth: true })
  await box.start('a')
  await using bridge = await startBridge(box)
  const user = await box.auth?.signUp('ada@example.com')
  assert.ok(user !== undefined)
  const { access_token, refresh_token, expires_in } = box.sim.addMailbox({ user: 'ada', provider: 'google', n: 40 })
  const ask = async (
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; body: Record<string, unknown> }> => {
    const answer = await fetch(bridge.url + path, {
      method,
      headers: {
        authorization: `Bearer ${await user.jwt()}`,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }

  const connected = await ask('POST', '/mail/connect', { provider: 'google', access_token, refresh_token, expires_in })
  assert.deepEqual(connected, {
    status: 200,
    body: { message: 'mail sync started', provider: 'google', user_id: user.userId },
  })
  const status = await until('the mailbox is live', async () => {
    const { body } = await ask('GET', '/mail/status')
    const [account] = body.accounts as { state: string; outbox: { pending: number } }[]
    return account?.state === 'live' && account.outbox.pending === 0 ? body : undefined
  })
  assert.deepEqual(status.running_syncs, [`${user.userId}:primary:GOOGLE`])

  const disconnected = await ask('POST', '/mail/disconnect', { provider: 'google' })
  assert.deepEqual(disconnected, { status: 200, body: { message: 'mail sync stopped' } })
  await until('the grant is revoked', () => box.sim.log().some(({ route }) => route === 'google.revoke'))
  assert.deepEqual((await ask('GET', '/mail/status')).body, { user_id: user.userId, running_syncs: [], accounts: [] })
  assert.equal((await fetch(`${bridge.url}/readyz`)).status, 200)
  const metrics = await (await fetch(`${bridge.url}/metrics`)).text()
  assert.match(metrics, /mailsync_events_published_total\{instance="a"\} \d+/)
})

test('an operator connects and watches a mailbox with mailctl', async () => {
  await using box = await sandbox()
  await box.start('a')
  const env = (role: 'service' | 'ops' | 'consumer'): Record<string, string> => ({
    NATS_URL: box.nats.url,
    NATS_USER: role,
    NATS_PASSWORD: box.nats.passwords[role],
    NO_COLOR: '1',
    GOOGLE_CLIENT_ID: 'google-client',
    MICROSOFT_CLIENT_ID: 'microsoft-client',
  })
  const { access_token, refresh_token, expires_in } = box.sim.addMailbox({
    user: 'grace',
    provider: 'microsoft',
    n: 30,
  })
  const connect = await mailctl(
    ['connect', 'microsoft', '--user', 'grace'],
    env('service'),
    JSON.stringify({ access_token, refresh_token, expires_in }),
  )
  assert.deepEqual([connect.code, connect.out], [0, '✔ mail sync started: microsoft of user grace\n'], connect.err)
  await box.allLive(await box.connection('service'), ['grace'])
  const must = box.sim.truth('grace', 'microsoft').must.length
  const tail = await mailctl(['tail', 'grace', '--from', 'all', '-n', String(must), '--json'], env('consumer'))
  assert.equal(tail.out.trim().split('\n').length, must, tail.err)
  const micro = await mailctl(['micro', '--json'], env('service'))
  assert.equal(micro.code, 0, micro.err)
  assert.match(micro.out, /"mail\.connect"/)
  const doctor = await mailctl(['doctor'], { ...env('ops'), BETTER_AUTH_JWKS_URL: '' })
  assert.match(doctor.out, /✔.*EMAIL_EVENTS/)
})
