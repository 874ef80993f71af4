/**
 * Every write of checkpoints and events as it reaches the server, with the server's own answer: whose it was, whether
 * that instance still had the lease when it arrived, and whether it was stored. It only listens.
 */
import { jetstreamManager } from '@nats-io/jetstream'
import type { Msg, NatsConnection } from '#shared/nats.ts'
import { BUCKET_LEASES, BUCKET_STATE, EVENT_SUBJECT_ALL, inboxPrefix, parseLeaseKey } from '#shared/subjects.ts'
import { decodeUser } from '#shared/user-token.ts'
import { answered } from './until.ts'

const LEASES = `$KV.${BUCKET_LEASES}.`
const STATE = `$KV.${BUCKET_STATE}.`

/** A write that arrived after somebody else had won the lease of the user. `stored` null = not answered. */
export type LateWrite = { store: 'state' | 'stream'; user: string; by: string; stored: boolean | null }
type Write = { subject: string; writer: string; body: string; late: LateWrite | null }

const EARLY_MAX = 1_000

export class Wire {
  readonly late: LateWrite[] = []
  /** Events that were refused, whoever sent them. */
  refusedEvents = 0
  /** By the reply subject on which the answer comes: one write, or all of a batch. */
  readonly #open = new Map<string, Write[]>()
  /** Answers to what has not been heard yet: a refusal waits for no disk and may be here before the write. The newest ones. */
  readonly #early = new Map<string, Uint8Array>()
  /** Batches that are not complete, by their id. */
  readonly #batches = new Map<string, Msg[]>()
  /** Sessions that a connection has written, by the inbox that its answers go to. */
  readonly #sids = new Map<string, Set<string>>()
  readonly #names = new Map<string, string>()
  readonly #owners = new Map<string, string | null>()

  /** @param nc may listen to everything: the role ops. */
  static async start(nc: NatsConnection): Promise<Wire> {
    const wire = new Wire()
    for (const subject of [`${LEASES}>`, `${STATE}*`, EVENT_SUBJECT_ALL])
      nc.subscribe(subject, { callback: (_error, message) => wire.#sent(message) })
    nc.subscribe(`${inboxPrefix('mailsync')}.>`, {
      callback: (_error, { subject, data }) => wire.#answered(subject, data),
    })
    await answered(async () => (await jetstreamManager(nc)).getAccountInfo())
    return wire
  }

  refused(store: LateWrite['store']): number {
    return this.late.filter((write) => write.store === store && write.stored === false).length
  }
  get landed(): LateWrite[] {
    return this.late.filter(({ stored }) => stored === true)
  }

  #sent(message: Msg): void {
    const batch = message.headers?.get('Nats-Batch-Id') ?? ''
    const parts = batch === '' ? [message] : [...(this.#batches.get(batch) ?? []), message]
    const { reply = '' } = message
    // The answer to the last of a batch is that of all; one that is answered before is only held.
    if (batch !== '' && message.headers?.get('Nats-Batch-Commit') !== '1') {
      this.#batches.set(batch, parts)
      return
    }
    // The client makes an empty one of none.
    if (reply === '') return
    this.#batches.delete(batch)
    const writer = reply.split('.').slice(0, -1).join('.')
    this.#open.set(
      reply,
      parts.map(({ subject, data }) =>
        this.#arrived({ subject, writer, body: Buffer.from(data).toString(), late: null }),
      ),
    )
    const answer = this.#early.get(reply)
    if (answer !== undefined) this.#answered(reply, answer)
  }

  #arrived(write: Write): Write {
    const { subject, writer } = write
    const user = userOf(subject)
    if (user === null) return write
    const owner = this.#owners.get(user)
    if (owner === undefined || owner === null || this.#sids.get(writer)?.has(owner) === true) return write
    const store = subject.startsWith(STATE) ? 'state' : 'stream'
    write.late = { store, user, by: this.#names.get(writer) ?? writer, stored: null }
    this.late.push(write.late)
    return write
  }

  #answered(reply: string, data: Uint8Array): void {
    const writes = this.#open.get(reply)
    if (writes === undefined) {
      this.#early.set(reply, data)
      const [oldest] = this.#early.keys()
      if (this.#early.size > EARLY_MAX && oldest !== undefined) this.#early.delete(oldest)
      return
    }
    this.#early.delete(reply)
    this.#open.delete(reply)
    const stored = !Buffer.from(data).toString().includes('"error"')
    for (const write of writes) {
      if (write.late !== null) write.late.stored = stored
      if (!stored && write.subject.startsWith('user.')) this.refusedEvents += 1
      if (stored && write.subject.startsWith(LEASES)) this.#lease(write)
    }
  }

  #lease({ subject, writer, body }: Write): void {
    const key = parseLeaseKey(subject.slice(LEASES.length))
    if (key === null || body === '') return
    const record: { state?: string; name?: string; owner?: string | null } = JSON.parse(body)
    if ('userId' in key) this.#owners.set(key.userId, record.owner ?? null)
    // Who declares another one dead writes that one's record.
    else if (record.state !== 'dead') {
      this.#sids.set(writer, (this.#sids.get(writer) ?? new Set()).add(key.sid))
      this.#names.set(writer, record.name ?? '')
    }
  }
}

/** The user whose checkpoint or event it is. */
function userOf(subject: string): string | null {
  const token = subject.startsWith(STATE)
    ? subject.slice(STATE.length)
    : subject.startsWith('user.')
      ? subject.split('.')[1]
      : null
  return token == null ? null : decodeUser(token)
}
