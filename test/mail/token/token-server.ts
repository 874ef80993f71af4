/** An OAuth token and revocation endpoint over real HTTP, whose next answers a test decides. Counts every request. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { text } from 'node:stream/consumers'
import { createHttp, type Http, type HttpOptions } from '../../../services/mail/base/http.ts'
import type { ProviderName } from '../../../services/mail/base/model.ts'
import { GRANT_HTTP, type GrantClient } from '../../../services/mail/token/refresh.ts'
import { Secret } from '../../../shared/secret.ts'

export type Answer = { status: number; body: string; headers?: Record<string, string> } | 'hang' | 'reset'
export type Answering = (form: URLSearchParams, request: IncomingMessage) => Answer | Promise<Answer>

export const grantAnswer = (body: Record<string, unknown>): Answer => ({ status: 200, body: JSON.stringify(body) })
export const refusal = (status: number, error: string, headers: Record<string, string> = {}): Answer => ({
  status,
  body: JSON.stringify({ error, error_description: 'canary-description' }),
  headers,
})

export class TokenServer {
  readonly forms: URLSearchParams[] = []
  answer: Answering = () => ({ status: 500, body: '' })
  readonly #server: Server
  readonly #https: Http[] = []

  private constructor() {
    this.#server = createServer((request, response) => {
      void text(request)
        .then(async (body) => {
          const form = new URLSearchParams(body)
          this.forms.push(form)
          const answer = await this.answer(form, request)
          if (answer === 'hang') return
          if (answer === 'reset') return request.socket.destroy()
          response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers }).end(answer.body)
        })
        .catch((error: unknown) => response.destroy(error instanceof Error ? error : new Error(String(error))))
    })
  }

  static async start(): Promise<TokenServer> {
    const server = new TokenServer()
    server.#server.listen(0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get url(): string {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('the token server does not listen')
    return `http://127.0.0.1:${address.port}`
  }

  client(provider: ProviderName, options: HttpOptions = {}): GrantClient {
    const http = createHttp({ ...GRANT_HTTP, ...options })
    this.#https.push(http)
    return {
      provider,
      tokenUrl: `${this.url}/token`,
      revokeUrl: provider === 'google' ? `${this.url}/revoke` : null,
      clientId: 'client-id',
      clientSecret: new Secret('canary-client-secret'),
      http,
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const http of this.#https) await http[Symbol.asyncDispose]()
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}
