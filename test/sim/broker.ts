/**
 * JetStream as far as the service uses it: streams with sequences, subjects, duplicates and expectations, and whoever
 * watches them. It does at once what it is asked; delay and loss are the link's.
 */
import { JetStreamApiError } from '@nats-io/jetstream'

export type Stored = { seq: number; subject: string; data: Uint8Array; atMs: number; isMarker: boolean }
type PublishOptions = { msgId?: string; expectLast?: number; isMarker?: boolean; keepOne?: boolean }

const refuse = (code: number, description: string): JetStreamApiError =>
  new JetStreamApiError({ code: 400, err_code: code, description })

export class BrokerStream {
  readonly createdMs: number
  lastSeq = 0
  readonly #messages = new Map<number, Stored>()
  readonly #bySubject = new Map<string, number[]>()
  readonly #ids = new Map<string, { seq: number; atMs: number }>()
  readonly #watchers = new Set<(message: Stored) => void>()
  readonly #now: () => number
  readonly #windowMs: number

  constructor(createdMs: number, now: () => number, windowMs: number) {
    this.createdMs = createdMs
    this.#now = now
    this.#windowMs = windowMs
  }

  get messages(): IterableIterator<Stored> {
    return this.#messages.values()
  }
  get size(): number {
    return this.#messages.size
  }
  get firstSeq(): number {
    const [first] = this.#messages.keys()
    return first ?? this.lastSeq + 1
  }

  publish(subject: string, data: Uint8Array, options: PublishOptions = {}): { seq: number; duplicate: boolean } {
    const { msgId, expectLast, isMarker = false, keepOne = false } = options
    const nowMs = this.#now()
    const known = msgId === undefined ? undefined : this.#ids.get(msgId)
    if (known !== undefined && nowMs - known.atMs < this.#windowMs) return { seq: known.seq, duplicate: true }
    const before = this.lastOf(subject)
    if (expectLast !== undefined && (before?.seq ?? 0) !== expectLast)
      throw refuse(10071, `wrong last sequence: ${before?.seq ?? 0}`)
    const message = { seq: ++this.lastSeq, subject, data, atMs: nowMs, isMarker }
    if (keepOne && before !== null) this.#remove(before)
    this.#messages.set(message.seq, message)
    const seqs = this.#bySubject.get(subject)
    if (seqs === undefined) this.#bySubject.set(subject, [message.seq])
    else seqs.push(message.seq)
    if (msgId !== undefined) this.#ids.set(msgId, { seq: message.seq, atMs: nowMs })
    for (const tell of this.#watchers) tell(message)
    return { seq: message.seq, duplicate: false }
  }

  at(seq: number): Stored | null {
    return this.#messages.get(seq) ?? null
  }
  lastOf(subject: string): Stored | null {
    const seq = this.#bySubject.get(subject)?.at(-1)
    return seq === undefined ? null : this.at(seq)
  }
  /** The next of the subject at or behind a sequence. */
  nextOf(subject: string, from: number): Stored | null {
    const seq = this.#bySubject.get(subject)?.find((each) => each >= from)
    return seq === undefined ? null : this.at(seq)
  }
  purge(subject: string): void {
    for (const seq of [...(this.#bySubject.get(subject) ?? [])]) {
      const message = this.at(seq)
      if (message !== null) this.#remove(message)
    }
  }
  watch(tell: (message: Stored) => void): () => void {
    this.#watchers.add(tell)
    return () => this.#watchers.delete(tell)
  }

  #remove({ seq, subject }: Stored): void {
    this.#messages.delete(seq)
    const left = (this.#bySubject.get(subject) ?? []).filter((each) => each !== seq)
    if (left.length > 0) this.#bySubject.set(subject, left)
    else this.#bySubject.delete(subject)
  }
}

/** All streams of one server. */
export class Broker {
  readonly #streams = new Map<string, BrokerStream>()
  readonly #now: () => number
  readonly #windowMs: number
  #made = 0

  /** @param windowMs of duplicates */
  constructor(now: () => number, windowMs: number) {
    this.#now = now
    this.#windowMs = windowMs
  }

  stream(name: string): BrokerStream {
    const known = this.#streams.get(name)
    if (known !== undefined) return known
    const made = new BrokerStream(1_690_000_000_000 + this.#made++, this.#now, this.#windowMs)
    this.#streams.set(name, made)
    return made
  }
}
