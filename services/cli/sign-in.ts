/**
 * The sign-in of a person at Google or Microsoft: authorization code with PKCE, the answer caught on a loopback port.
 * It hands the tokens to its caller and keeps nothing.
 */
import { once } from 'node:events'
import { createServer, type Server, type ServerResponse } from 'node:http'
import * as oauth from 'oauth4webapi'
import type { Env } from '#shared/env.ts'
import { type Cli, CliFailure } from './cli.ts'
import type { Provider, Tokens } from './commands/connect.ts'

const TOKEN_DEADLINE_MS = 10_000

export type SignIn = {
  server: oauth.AuthorizationServer
  client: oauth.Client
  clientAuth: oauth.ClientAuth
  /** Host of the redirect address as the provider wants it registered; the port is free to choose at both. */
  redirectHost: string
  parameters: Record<string, string>
}

/** What the environment says about a provider. `clientId` is checked by the caller. */
export function signInOf(provider: Provider, env: Env): SignIn {
  const google = provider === 'google'
  const authorize = google ? env.MAIL_GOOGLE_AUTHORIZE_URL : env.MAIL_MICROSOFT_AUTHORIZE_URL
  const secret = google ? env.GOOGLE_CLIENT_SECRET : env.MICROSOFT_CLIENT_SECRET
  return {
    server: {
      issuer: new URL(authorize).origin,
      authorization_endpoint: authorize,
      token_endpoint: google ? env.MAIL_GOOGLE_TOKEN_URL : env.MAIL_MICROSOFT_TOKEN_URL,
    },
    client: { client_id: (google ? env.GOOGLE_CLIENT_ID : env.MICROSOFT_CLIENT_ID) ?? '' },
    clientAuth: secret === undefined ? oauth.None() : oauth.ClientSecretPost(secret.reveal()),
    // Microsoft lets the port vary only for the name, Google documents the number.
    redirectHost: google ? '127.0.0.1' : 'localhost',
    parameters: google
      ? { scope: 'https://www.googleapis.com/auth/gmail.readonly', access_type: 'offline', prompt: 'consent' }
      : { scope: 'offline_access Mail.Read User.Read', prompt: 'select_account' },
  }
}

/**
 * Prints the address to open, waits for the answer of the provider, and changes the code for tokens.
 * @throws CliFailure when the person refuses, nobody comes in time, or the provider gives no refresh token.
 */
export async function signIn(cli: Cli, to: SignIn, port: number, waitMs: number): Promise<Tokens> {
  const verifier = oauth.generateRandomCodeVerifier()
  const state = oauth.generateRandomState()
  const http = createServer({ requestTimeout: 5_000 })
  http.listen(port, '127.0.0.1')
  await once(http, 'listening').catch((cause: unknown) => {
    throw new CliFailure(`cannot listen on 127.0.0.1:${port}`, { cause })
  })
  try {
    const redirectUri = `http://${to.redirectHost}:${portOf(http)}`
    const url = new URL(to.server.authorization_endpoint ?? '')
    const parameters = {
      client_id: to.client.client_id,
      redirect_uri: redirectUri,
      response_type: 'code',
      state,
      code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
      code_challenge_method: 'S256',
      ...to.parameters,
    }
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value)
    cli.out.note(`Open this address in a browser and sign in (waiting ${Math.round(waitMs / 1000)} s):\n${url.href}`)
    const answer = await catchAnswer(http, to, state, AbortSignal.any([cli.signal, AbortSignal.timeout(waitMs)]))
    return await changeCode(to, answer, redirectUri, verifier, cli.signal)
  } finally {
    http.close()
    http.closeAllConnections()
  }
}

/** The first request that carries our state; anything else that knocks is sent away and the wait goes on. */
async function catchAnswer(http: Server, to: SignIn, state: string, signal: AbortSignal): Promise<URLSearchParams> {
  return await new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(new CliFailure('nobody signed in before the deadline')), {
      once: true,
    })
    http.on('request', (request, response) => {
      const url = new URL(request.url ?? '/', 'http://localhost')
      if (request.method !== 'GET' || url.pathname !== '/' || url.searchParams.get('state') !== state) {
        page(response, 404, 'There is nothing here.')
        return
      }
      try {
        const parameters = oauth.validateAuthResponse(to.server, to.client, url, state)
        page(response, 200, 'Signed in. You can close this window and go back to the terminal.')
        resolve(parameters)
      } catch (error) {
        page(response, 400, 'The sign-in failed; the terminal says why. You can close this window.')
        reject(refused(error))
      }
    })
  })
}

function page(response: ServerResponse, status: number, text: string): void {
  const headers = {
    'content-type': 'text/plain; charset=utf-8',
    'x-content-type-options': 'nosniff',
    connection: 'close',
  }
  response.writeHead(status, headers).end(text)
}

async function changeCode(
  { server, client, clientAuth }: SignIn,
  answer: URLSearchParams,
  redirectUri: string,
  verifier: string,
  signal: AbortSignal,
): Promise<Tokens> {
  try {
    const response = await oauth.authorizationCodeGrantRequest(
      server,
      client,
      clientAuth,
      answer,
      redirectUri,
      verifier,
      {
        signal: AbortSignal.any([signal, AbortSignal.timeout(TOKEN_DEADLINE_MS)]),
        // The environment lets plain http through to loopback only.
        [oauth.allowInsecureRequests]: server.token_endpoint?.startsWith('http:') === true,
      },
    )
    const tokens = await oauth.processAuthorizationCodeResponse(server, client, await withoutIdToken(response))
    if (tokens.refresh_token === undefined)
      throw new CliFailure(
        'the provider gave no refresh token: remove the grant in the account settings and sign in again',
      )
    return {
      access_token: tokens.access_token,
      refresh_token: tokens.refresh_token,
      expires_in: Math.max(0, Math.floor(tokens.expires_in ?? 0)),
    }
  } catch (error) {
    throw refused(error)
  }
}

/** We do not ask who the person is. An id token that comes all the same would be checked, and its issuer is one per tenant. */
async function withoutIdToken(response: Response): Promise<Response> {
  const text = await response.clone().text()
  if (!response.ok || !text.includes('"id_token"')) return response
  return Response.json(JSON.parse(text, (name, value: unknown) => (name === 'id_token' ? undefined : value)))
}

/** The provider's error code, never the response that may hold a token. */
function refused(error: unknown): CliFailure {
  if (error instanceof CliFailure) return error
  if (error instanceof oauth.AuthorizationResponseError || error instanceof oauth.ResponseBodyError)
    return new CliFailure(`the provider refused the sign-in: ${error.error}`)
  const code = error instanceof Error && 'code' in error ? ` (${String(error.code)})` : ''
  return new CliFailure(`the sign-in failed${code}: check the client id, its secret and its redirect addresses`)
}

function portOf(server: Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  return address.port
}
