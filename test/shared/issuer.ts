/** A JWKS over HTTP whose behaviour a test scripts, and a clock that a test moves. */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { exportJWK, generateKeyPair, type JWK, type JWTHeaderParameters, SignJWT } from 'jose'

export type IssuerMode = 'up' | 'fails' | 'hangs' | 'waits' | 'garbage' | 'redirects' | 'huge'

export type TestIssuer = {
  url: string
  jwksUrl: string
  keys: JWK[]
  mode: IssuerMode
  /** Fetches of the key set so far. */
  fetches: number
  /** Answers those who came while the mode was `waits`. */
  answerWaiting(): void
  [Symbol.asyncDispose](): Promise<void>
}

export async function startIssuer(keys: JWK[] = []): Promise<TestIssuer> {
  const waiting: ServerResponse[] = []
  const server = createServer((_request, response) => {
    issuer.fetches++
    if (issuer.mode === 'waits') waiting.push(response)
    else answer(issuer, response)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const url = `http://127.0.0.1:${address.port}`
  const issuer: TestIssuer = {
    url,
    jwksUrl: `${url}/jwks`,
    keys,
    mode: 'up',
    fetches: 0,
    answerWaiting() {
      issuer.mode = 'up'
      for (const response of waiting.splice(0)) answer(issuer, response)
    },
    async [Symbol.asyncDispose]() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
  return issuer
}

function answer(issuer: TestIssuer, response: ServerResponse): void {
  switch (issuer.mode) {
    case 'up':
      response.setHeader('content-type', 'application/json').end(JSON.stringify({ keys: issuer.keys }))
      break
    case 'fails':
      response.writeHead(500).end('{"keys":[]}')
      break
    case 'garbage':
      response.end('<html>sign in</html>')
      break
    case 'redirects':
      response.writeHead(302, { location: `${issuer.url}/elsewhere` }).end()
      break
    case 'huge':
      response.end(JSON.stringify({ keys: issuer.keys, padding: ' '.repeat(300 * 1024) }))
      break
    case 'waits':
    case 'hangs':
      break
  }
}

export type Signer = {
  jwk: JWK
  /** Signs claims; a header given here replaces the ordinary one. */
  sign(claims: Record<string, unknown>, header?: Partial<JWTHeaderParameters>): Promise<string>
}

/** A key pair with its public JWK. */
export async function createSigner(kid: string, alg = 'EdDSA'): Promise<Signer> {
  const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
  return {
    jwk: { ...(await exportJWK(publicKey)), kid, alg },
    sign: (claims, header) => new SignJWT(claims).setProtectedHeader({ alg, kid, ...header }).sign(privateKey),
  }
}

export type MovedClock = { wallMs(): number; monoMs(): number; advance(ms: number): void }

/** Starts at the real time and stands still until it is moved. */
export function movedClock(): MovedClock {
  let passedMs = 0
  const startMs = Date.now()
  return {
    wallMs: () => startMs + passedMs,
    monoMs: () => passedMs,
    advance(ms) {
      passedMs += ms
    },
  }
}
