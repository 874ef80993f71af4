/**
 * Gmail and Graph for benchmarks, as a process of its own: a few microseconds for each mail of a batch or a page, no quota,
 * no faults. It counts requests. The simulator is the oracle of what is right; this one only gives what it gives faster.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { answerRequests } from '../kit/program.ts'
import { answerGmail } from './gmail.ts'
import { answerGraph } from './graph.ts'
import { type Answer, json, mailboxOf } from './mailbox.ts'

const counts: Record<string, number> = {}
const REFUSED = json({ error: { code: 401, message: 'no token of the benchmark' } }, 401)
const UNKNOWN = json({ error: { code: 404, message: 'the benchmark does not know this request' } }, 404)

let origin = ''

function answer(target: string, authorization: string | undefined, prefer: string, body: string): Answer {
  // Of a mailbox that is disconnected: everything goes.
  if (target === '/revoke') return json({})
  const box = mailboxOf(authorization)
  if (box === null) return REFUSED
  const found = target.startsWith('/v1.0/me')
    ? answerGraph(box, new URL(target, origin), prefer)
    : answerGmail(box, target, body)
  const route = found?.route ?? 'unknown'
  counts[route] = (counts[route] ?? 0) + 1
  return found?.answer ?? UNKNOWN
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const { url = '/', headers } = request
    const found = answer(url, headers.authorization, String(headers.prefer ?? ''), Buffer.concat(chunks).toString())
    const body = Buffer.from(found.body)
    response.writeHead(found.status, { 'content-type': found.type, 'content-length': body.length })
    response.end(body)
  })
})
server.keepAliveTimeout = 60_000
const listening = new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))

/** `listen` answers the address, `counts` how often each route was asked. */
answerRequests(async ({ what }: { what: 'listen' | 'counts' }) => {
  if (what === 'counts') return counts
  await listening
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return origin
})
