/**
 * JetStream as far as the service uses it: streams with sequences, subjects, duplicates and expectations, and whoever
 * watches them. It does at once what it is asked; delay and loss are the link's. Its disk may lose what was written last.
 */
import { JetStreamApiError } from '@nats-io/jetstream'

/** `by`: the disk of whoever published it. */
export type Stored = {
  seq: number
  subject: string
  data: Uint8Array
  atMs: number
  isMarker: boolean
  by: string | null
}
type PublishOptions = { msgId?: string; expectLast?: number; isMarker?: boolean; keepOne?: boolean; by?: string }
/** A write, and what it has replaced. */
type Written = { message: Stored; replaced: Stored | null; msgId: string | undefined }

const refuse = (code: number, description: string): JetStreamApiError =>
  new JetStreamApiError({ code: 400, err_code: code, description })

export class BrokerStream {
  readonly createdMs: number
  lastSeq = 0
  readonly #messages = new Map<number, Stored>()
  readonly #bySubject = new Map<string, number[]>()
  readonly #ids = new Map<string, { seq: number; atMs: number }>()
  readonly #written: Written[] = []
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
    const { msgId, expectLast, isMarker = false, keepOne = false, by = null } = options
    const nowMs = this.#now()
    const known = msgId === undefined ? undefined : this.#ids.get(msgId)
    if (known !== undefined && nowMs - known.atMs < this.#windowMs) return { seq: known.seq, duplicate: true }
    const before = this.lastOf(subject)
    if (expectLast !== undefined && (before?.seq ?? 0) !== expectLast)
      throw refuse(10071, `wrong last sequence: ${before?.seq ?? 0}`)
    const message = { seq: ++this.lastSeq, subject, data, atMs: nowMs, isMarker, by }
    const replaced = keepOne ? before : null
    if (replaced !== null) this.#remove(replaced)
    this.#add(message)
    if (msgId !== undefined) this.#ids.set(msgId, { seq: message.seq, atMs: nowMs })
    this.#written.push({ message, replaced, msgId })
    for (const tell of this.#watchers) tell(message)
    return { seq: message.seq, duplicate: false }
  }

  /** What was written after that time was not on the disk when the machine went down. @returns it, the newest first */
  goBack(sinceMs: number): Stored[] {
    const lost: Stored[] = []
    for (let last = this.#written.at(-1); last !== undefined && last.message.atMs > sinceMs; ) {
      const { message, replaced, msgId } = last
      this.#written.pop()
      this.#remove(message)
      if (replaced !== null) this.#add(replaced)
      if (msgId !== undefined) this.#ids.delete(msgId)
      this.lastSeq = message.seq - 1
      lost.push(message)
      last = this.#written.at(-1)
    }
    return lost
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
  watch(tell: (message: Stored) => void): () => void {
    this.#watchers.add(tell)
    return () => this.#watchers.delete(tell)
  }

  #add(message: Stored): void {
    this.#messages.set(message.seq, message)
    const seqs = this.#bySubject.get(message.subject)
    if (seqs === undefined) this.#bySubject.set(message.subject, [message.seq])
    else seqs.push(message.seq)
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
  /** How often the server has gone down. What it keeps in memory only is gone with it. */
  falls = 0

  /** @param windowMs of duplicates */
  constructor(now: () => number, windowMs: number) {
    this.#now = now
    this.#windowMs = windowMs
  }

  stream(name: string): BrokerStream {
    const known = this.#streams.get(name)
    if (known !== undefined) return known
    const made = new BrokerStream(1_690_000_000_000 + this.#streams.size, this.#now, this.#windowMs)
    this.#streams.set(name, made)
    return made
  }
}
