/** A provider of whose answers a test writes every byte. For what the simulator, which is no liar, never answers. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export type JsonAnswer = { status?: number; body: object }

/** @param answer what stands at a path; `origin` is the server's own. */
export async function serveJson(answer: (path: string, origin: string) => JsonAnswer) {
  const server = createServer((request, response) => {
    const origin = `http://${request.headers.host}`
    const { status = 200, body } = answer(new URL(request.url ?? '/', origin).pathname, origin)
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
