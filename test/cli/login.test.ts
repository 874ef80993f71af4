import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { after, before, test } from 'node:test'
import { createEmulator } from 'emulate'
import type { ConnectRequest } from '#shared/contract.ts'
import { freePort } from '../support/free-port.ts'
import { until } from '../support/until.ts'
import { type CliBox, cliBox } from './cli-box.ts'
import { type Running, startMailctl } from './mailctl.ts'

let box: CliBox
before(async () => {
  box = await cliBox()
})
after(() => box[Symbol.asyncDispose]())

/** The address that mailctl asks a person to open. */
const addressOf = (running: Running): Promise<URL> =>
  until('an address is printed', () => {
    const found = /^(https?:\S+)\n/m.exec(running.err())?.[1]
    return found === undefined ? false : new URL(found)
  })
const redirectOf = (address: URL, parameters: Record<string, string>): string =>
  `${address.searchParams.get('redirect_uri')}/?${new URLSearchParams(parameters)}`

/** A person picks an account on the page at the address and is sent back to mailctl. Answers both statuses. */
async function consent(address: URL, path: string, email: string): Promise<[number, number]> {
  const body = new URLSearchParams({ ...Object.fromEntries(address.searchParams), email })
  const picked = await fetch(new URL(path, address), { method: 'POST', body, redirect: 'manual' })
  return [picked.status, (await fetch(picked.headers.get('location') ?? '')).status]
}

async function googleEmulator(t: { after(fn: () => Promise<void>): void }): Promise<string> {
  const seed = {
    google: {
      users: [{ email: 'ada@example.com', name: 'Ada' }],
      oauth_clients: [
        { client_id: 'ours', client_secret: 'canary-secret', name: 'ours', redirect_uris: ['http://127.0.0.1'] },
      ],
    },
  }
  const emulator = await createEmulator({ service: 'google', port: 0, seed })
  t.after(() => emulator.close())
  return emulator.url
}

test('login signs a person in at a Google that is not ours and connects the mailbox with the tokens', async (t) => {
  const google = await googleEmulator(t)
  const env = box.env('service', {
    GOOGLE_CLIENT_ID: 'ours',
    GOOGLE_CLIENT_SECRET: 'canary-secret',
    MAIL_GOOGLE_AUTHORIZE_URL: `${google}/o/oauth2/v2/auth`,
    MAIL_GOOGLE_TOKEN_URL: `${google}/oauth2/token`,
  })
  const running = startMailctl(['login', 'google', '--user', 'ada', '--timeout', '20'], env)
  const address = await addressOf(running)
  assert.equal(address.searchParams.get('code_challenge_method'), 'S256')
  assert.equal(address.searchParams.get('access_type'), 'offline')
  assert.deepEqual(await consent(address, '/o/oauth2/v2/auth/callback', 'ada@example.com'), [302, 200])
  const ran = await running.done
  assert.deepEqual([ran.code, ran.out], [0, '✔ mail sync started: google of user ada\n'], ran.err)
  const sent = box.service.seen.at(-1)?.body as ConnectRequest
  assert.match(sent.access_token, /^google_/)
  assert.match(sent.refresh_token, /^google_refresh_/)
  assert.equal(sent.expires_in, 3600)
  for (const secret of [sent.access_token, sent.refresh_token, 'canary-secret'])
    assert.ok(!(ran.out + ran.err).includes(secret))
})

test('login signs a person in at a Microsoft that is not ours, whose id token carries the issuer of a tenant', async (t) => {
  const port = await freePort()
  const client = { client_id: 'ours', client_secret: 'canary-secret', name: 'ours' }
  const seed = {
    microsoft: {
      users: [{ email: 'grace@example.com', name: 'Grace' }],
      oauth_clients: [{ ...client, redirect_uris: [`http://localhost:${port}`] }],
    },
  }
  const emulator = await createEmulator({ service: 'microsoft', port: await freePort(), seed })
  t.after(() => emulator.close())
  const env = box.env('service', {
    MICROSOFT_CLIENT_ID: 'ours',
    MICROSOFT_CLIENT_SECRET: 'canary-secret',
    MAIL_MICROSOFT_AUTHORIZE_URL: `${emulator.url}/oauth2/v2.0/authorize`,
    MAIL_MICROSOFT_TOKEN_URL: `${emulator.url}/oauth2/v2.0/token`,
  })
  const args = ['login', 'microsoft', '--user', 'grace', '--port', String(port), '--timeout', '20']
  const running = startMailctl(args, env)
  const address = await addressOf(running)
  assert.deepEqual(await consent(address, '/oauth2/v2.0/authorize/callback', 'grace@example.com'), [302, 200])
  const ran = await running.done
  assert.deepEqual([ran.code, ran.out], [0, '✔ mail sync started: microsoft of user grace\n'], ran.err)
  const sent = box.service.seen.at(-1)?.body as ConnectRequest
  assert.match(sent.access_token, /^microsoft_/)
  assert.match(sent.refresh_token, /^r_microsoft_/)
  assert.equal(sent.expires_in, 3600)
  for (const secret of [sent.access_token, sent.refresh_token, 'canary-secret'])
    assert.ok(!(ran.out + ran.err).includes(secret))
})

test('a wrong client secret is reported by the code of the provider, without the secret', async (t) => {
  const google = await googleEmulator(t)
  const env = box.env('service', {
    GOOGLE_CLIENT_ID: 'ours',
    GOOGLE_CLIENT_SECRET: 'canary-wrong',
    MAIL_GOOGLE_AUTHORIZE_URL: `${google}/o/oauth2/v2/auth`,
    MAIL_GOOGLE_TOKEN_URL: `${google}/oauth2/token`,
  })
  const running = startMailctl(['login', 'google', '--user', 'ada', '--timeout', '20'], env)
  const address = await addressOf(running)
  await fetch(redirectOf(address, { state: address.searchParams.get('state') ?? '', code: 'x' }))
  const ran = await running.done
  assert.equal(ran.code, 1)
  assert.match(ran.err, /✖ the provider refused the sign-in: invalid_client\n$/)
  assert.doesNotMatch(ran.err + ran.out, /canary/)
})

/** A token endpoint that checks the proof key and answers what the test wants. */
async function tokenEndpoint(challenge: () => string | null, answer: object) {
  const server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    const verifier = new URLSearchParams(body).get('code_verifier') ?? ''
    const proved = createHash('sha256').update(verifier).digest('base64url') === challenge()
    response.writeHead(proved ? 200 : 400, { 'content-type': 'application/json' })
    response.end(JSON.stringify(proved ? answer : { error: 'invalid_grant' }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return {
    url: `http://127.0.0.1:${address.port}/token`,
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

test('Microsoft: strangers at the loopback port change nothing, the right answer connects; no secret is needed', async () => {
  let challenge: string | null = null
  const answer = { access_token: 'm-access', refresh_token: 'm-refresh', token_type: 'Bearer', expires_in: 4999 }
  await using token = await tokenEndpoint(() => challenge, answer)
  const env = box.env('service', { MICROSOFT_CLIENT_ID: 'app', MAIL_MICROSOFT_TOKEN_URL: token.url })
  const running = startMailctl(['login', 'microsoft', '--user', 'bob', '--inbox', 'work', '--json'], env)
  const address = await addressOf(running)
  challenge = address.searchParams.get('code_challenge')
  assert.equal(address.origin, 'https://login.microsoftonline.com')
  assert.match(address.searchParams.get('scope') ?? '', /offline_access/)
  assert.equal(new URL(address.searchParams.get('redirect_uri') ?? '').hostname, 'localhost')

  assert.equal((await fetch(redirectOf(address, { state: 'forged', code: 'evil' }))).status, 404)
  assert.equal((await fetch(redirectOf(address, { code: 'evil' }))).status, 404)
  const state = address.searchParams.get('state') ?? ''
  assert.equal((await fetch(redirectOf(address, { state, code: 'fine' }))).status, 200)
  const ran = await running.done
  assert.equal(ran.code, 0, ran.err)
  assert.equal(JSON.parse(ran.out).message, 'mail sync started')
  assert.deepEqual(box.service.seen.at(-1)?.body, {
    provider: 'microsoft',
    access_token: 'm-access',
    refresh_token: 'm-refresh',
    expires_in: 4999,
    inbox_id: 'work',
  })
})

test('a person who refuses, and a provider that gives no refresh token, are failures that say so', async () => {
  let challenge: string | null = null
  await using token = await tokenEndpoint(() => challenge, { access_token: 'a', token_type: 'Bearer', expires_in: 1 })
  const env = box.env('service', { GOOGLE_CLIENT_ID: 'app', MAIL_GOOGLE_TOKEN_URL: token.url })
  const run = async (parameters: Record<string, string>): Promise<string> => {
    const running = startMailctl(['login', 'google', '--user', 'bob'], env)
    const address = await addressOf(running)
    challenge = address.searchParams.get('code_challenge')
    await fetch(redirectOf(address, { state: address.searchParams.get('state') ?? '', ...parameters }))
    const { code, err } = await running.done
    assert.equal(code, 1)
    return err
  }
  assert.match(await run({ error: 'access_denied' }), /✖ the provider refused the sign-in: access_denied/)
  assert.match(await run({ code: 'fine' }), /✖ the provider gave no refresh token/)
})

test('login ends when nobody signs in before the deadline', async () => {
  const env = box.env('service', { GOOGLE_CLIENT_ID: 'app' })
  const ran = await startMailctl(['login', 'google', '--user', 'bob', '--timeout', '0.2'], env).done
  assert.equal(ran.code, 1)
  assert.match(ran.err, /✖ nobody signed in before the deadline\n$/)
})
