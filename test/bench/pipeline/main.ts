/**
 * A pipeline as a process of its own: the hand-written one, the naive one, or events published from memory. It is told what
 * to do by messages and answers when it is done; who measures looks at it from outside.
 */
import { createLog } from '#shared/log.ts'
import { atLeast, connectNats } from '#shared/nats.ts'
import { EVENT_STREAM, eventSubject, inboxPrefix } from '#shared/subjects.ts'
import { openJetStream } from '../../../services/mail/outbox/jetstream.ts'
import { answerRequests } from '../kit/program.ts'
import { eventOf, type Ground, type Job } from './job.ts'
import { memoryMail } from './memory.ts'
import { type Outgoing, publishAll, TOGETHER } from './publish.ts'

/** Servers before know no batches, or none with message ids. */
const BATCHES_SINCE = '2.12.1'

export type PipelineRequest =
  | { what: 'open'; nats: { url: string; user: string; password: string }; url: string; dir: string }
  | { what: 'short' | 'naive'; job: Job }
  /** Makes the events, then publishes those that were made. */
  | { what: 'make'; user: string; mails: number }
  | { what: 'publish'; user: string }

let ground: Ground | undefined
let made: Outgoing[] = []

async function open({ nats, url, dir }: Extract<PipelineRequest, { what: 'open' }>): Promise<void> {
  const login = { ...nats, name: 'bench pipeline', inboxPrefix: inboxPrefix(nats.user) }
  const nc = await connectNats(login, createLog('bench', 'silent'), AbortSignal.timeout(20_000))
  const { js, jsm } = await openJetStream(nc)
  const { config } = await jsm.streams.info(EVENT_STREAM)
  const atomic = config.allow_atomic === true && atLeast(nc.info?.version ?? '0', BATCHES_SINCE)
  ground = { nc, js, atomic, url, dir }
}

function make(user: string, mails: number): void {
  const ts = Math.floor(Date.now() / 1_000)
  made = Array.from({ length: mails }, (_, index) => {
    const event = eventOf({ user, provider: 'google' }, memoryMail(index), ts)
    return { msgId: event.event_id, payload: Buffer.from(JSON.stringify(event)) }
  })
}

async function publishMade(on: Ground, user: string): Promise<number> {
  let last = 0
  for (let at = 0; at < made.length; at += TOGETHER)
    last = (await publishAll(on, eventSubject(user), made.slice(at, at + TOGETHER), last)).at(-1) ?? last
  return made.length
}

answerRequests(async (request: PipelineRequest): Promise<unknown> => {
  if (request.what === 'open') return await open(request)
  if (ground === undefined) throw new Error('not opened')
  switch (request.what) {
    case 'short':
      return await (await import('./short.ts')).syncShort(ground, request.job)
    case 'naive':
      return await (await import('./naive.ts')).syncNaive(ground, request.job)
    case 'make':
      return make(request.user, request.mails)
    case 'publish':
      return await publishMade(ground, request.user)
  }
})
