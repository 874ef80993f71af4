/** Catalogue: tokens that die, and refreshes that other systems raced, lost or sent to the wrong place. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Box } from './box.ts'

const PROVIDERS = ['google', 'microsoft'] as const
const HOUR_MS = 3_600_000
const TOKEN = { google: 'google.token', microsoft: 'microsoft.token' } as const
const POLL = { google: 'gmail.history.list', microsoft: 'graph.mailFolders.delta' } as const

for (const provider of PROVIDERS)
  test(`twenty #18159: ${provider}: access tokens are renewed before they end, for as long as the grant lasts`, async () => {
    await using box = await Box.open(provider, { n: 5, folders: [], intervalMs: 600_000, strictRotation: true })
    await box.untilLive()
    await box.advance(26 * HOUR_MS)
    box.deliver()
    await box.advance(600_000)
    const refreshes = box.requests(TOKEN[provider]).length
    assert.ok(refreshes >= 26 && refreshes <= 30, `${refreshes}`)
    assert.ok(
      box.sim.log().every(({ status }) => status === 200),
      'nothing was ever refused',
    )
    assert.equal(box.seen.at(-1)?.state, 'live')
    box.assertWhole()
  })

test('chatwoot #14325: tokens are renewed at the tenant that is configured, and nowhere else', async () => {
  const env = ({ url }: { url: string }) => ({ MAIL_MICROSOFT_TOKEN_URL: `${url}/contoso/oauth2/v2.0/token` })
  await using box = await Box.open('microsoft', { n: 5, env, tokenLifeS: 900 })
  await box.untilLive()
  await box.advance(HOUR_MS)
  assert.ok(box.requests('microsoft.token').length >= 5)
  assert.ok(box.requests('microsoft.token').every(({ url }) => url === '/contoso/oauth2/v2.0/token'))
})

for (const provider of PROVIDERS)
  test(`projectsend #1739: ${provider}: lanes that meet a dead token at the same time renew it once, and nobody has to sign in`, async () => {
    await using box = await Box.open(provider, {
      n: 60,
      ...{ pageSizeGraph: 5, latencyMs: () => 200, strictRotation: true, googleRotation: 'sometimes' },
    })
    box.fault(
      { type: '401untilRefresh' },
      { route: provider === 'google' ? 'gmail.messages.get' : 'graph.messages.delta', nth: 6 },
    )
    box.fault({ type: 'delay', ms: 900 }, { route: TOKEN[provider] })
    await box.untilLive()
    assert.equal(box.requests(TOKEN[provider]).length, 1)
    assert.ok(box.seen.every(({ state }) => state !== 'needs_reauth'))
    box.assertWhole()
  })

test('bichon #118: a refresh token that was replaced is not lost with the process', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, {
      n: 5,
      tokenLifeS: 900,
      strictRotation: true,
      googleRotation: 'sometimes',
    })
    await box.untilLive()
    for (let lives = 0; lives < 4; lives++) {
      const refreshes = box.requests(TOKEN[provider]).length
      await box.until('a refresh', () => box.requests(TOKEN[provider]).length > refreshes)
      await box.kill()
      box.start()
    }
    const id = box.deliver()
    await box.poll()
    assert.ok(box.mail().rows.includes(id))
    assert.ok(box.requests(TOKEN[provider]).every(({ status }) => status === 200))
    box.assertWhole()
  }
})

for (const provider of PROVIDERS)
  test(`emailengine #188: ${provider}: a grant that is gone asks for a new sign-in at once, and that goes on without gap or repeat`, async () => {
    await using box = await Box.open(provider, { n: 20, tokenLifeS: 900 })
    await box.untilLive()
    const { rows } = box.mail()
    box.fault({ type: 'invalid_grant' }, { route: TOKEN[provider] }, 1)
    await box.until('it asks for a sign-in', () => box.status().state === 'needs_reauth', 20 * 60_000)
    assert.equal(box.status().last_error?.code, 'AUTH_EXPIRED')
    assert.equal(box.records.record.reauth?.code, 'AUTH_EXPIRED')
    const asked = box.sim.log().length
    const id = box.deliver()
    await box.advance(HOUR_MS)
    assert.equal(box.sim.log().length, asked, 'nobody asks with a dead grant')
    await box.reconnect()
    await box.advance(30_000)
    await box.untilLive()
    assert.deepEqual(box.mail().rows, [...rows, id])
    box.assertWhole()
  })

for (const provider of PROVIDERS)
  test(`OAuth 2.0: ${provider}: a scope that was taken back is told as a refusal, and heals when it is given again`, async () => {
    await using box = await Box.open(provider, { n: 5 })
    await box.untilLive()
    box.fault({ type: '403scope' }, { route: POLL[provider] })
    const id = box.deliver()
    await box.until('told', () => box.status().last_error?.code === 'PROVIDER_REFUSED', 60_000)
    assert.equal(box.status().state, 'retrying')
    await box.advance(HOUR_MS)
    assert.ok(box.requests(POLL[provider]).length < 80, 'it is not hammered')
    box.sim.faults.clear()
    await box.untilLive(HOUR_MS)
    await box.poll()
    assert.ok(box.mail().rows.includes(id))
    box.assertWhole()
  })

for (const provider of PROVIDERS)
  test(`OAuth 2.0: ${provider}: a client that is refused is the operator’s fault: no user has to sign in`, async () => {
    await using box = await Box.open(provider, { n: 5, tokenLifeS: 900 })
    await box.untilLive()
    box.fault({ type: 'invalid_client' }, { route: TOKEN[provider] })
    await box.until('told', () => box.status().last_error?.code === 'PROVIDER_NOT_CONFIGURED', 20 * 60_000)
    box.deliver()
    await box.advance(HOUR_MS)
    assert.deepEqual([box.status().state, box.records.record.reauth], ['retrying', null])
    assert.ok(box.requests(TOKEN[provider]).length <= 65, 'once a minute')
    box.sim.faults.clear()
    await box.untilLive(HOUR_MS)
    box.assertWhole()
  })

for (const provider of PROVIDERS)
  test(`OAuth 2.0: ${provider}: a token endpoint that is down is waited for, and nothing but time is lost`, async () => {
    await using box = await Box.open(provider, { n: 5, tokenLifeS: 900 })
    await box.untilLive()
    for (const fault of [{ type: 'token5xx' }, { type: 'hang' }, { type: 'htmlOk' }] as const) {
      box.fault(fault, { route: TOKEN[provider] })
      await box.until('told', () => box.status().last_error?.code === 'PROVIDER_DOWN', 20 * 60_000)
      box.deliver()
      box.sim.faults.clear()
      await box.untilLive(HOUR_MS)
      await box.poll()
      box.assertWhole()
    }
  })

test('OAuth 2.0: a 401 in the middle of everything costs one refresh, and the account stays live', async () => {
  for (const provider of PROVIDERS) {
    await using box = await Box.open(provider, { n: 5 })
    await box.untilLive()
    box.fault({ type: '401untilRefresh' }, { route: POLL[provider] }, 1)
    const from = box.seen.length
    box.deliver()
    await box.poll()
    assert.equal(box.requests(TOKEN[provider]).length, 1)
    assert.deepEqual(box.seen.slice(from), [])
    box.assertWhole()
  }
})
