/**
 * JetStream as far as the service uses it: streams with sequences, subjects, duplicates, expectations and atomic batches, and
 * whoever watches them. It does at once what it is asked; delay and loss are the link's. Its disk may lose what was written last.
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
/** One message of an atomic batch; the last one commits it. */
type BatchPart = {
  id: string
  place: number
  isLast: boolean
  subject: string
  data: Uint8Array
  msgId?: string
  expectLast?: number
  by: string
}
export type BatchAck = { seq: number; count: number }
type PublishOptions = { msgId?: string; expectLast?: number; isMarker?: boolean; keepOne?: boolean; by?: string }
/** A write, what it has replaced, and its place in a batch of more than one, counted from 0. */
type Written = { message: Stored; replaced: Stored | null; msgId: string | undefined; batch: Place | null }
type Place = { place: number; size: number }
/** A batch that nobody goes on with is forgotten. */
const BATCH_SILENCE_MS = 10_000

const refuse = (code: number, description: string): JetStreamApiError =>
  new JetStreamApiError({ code: 400, err_code: code, description })

export class BrokerStream {
  readonly createdMs: number
  lastSeq = 0
  /** Messages that have come in batches. */
  batched = 0
  readonly #messages = new Map<number, Stored>()
  readonly #bySubject = new Map<string, number[]>()
  readonly #ids = new Map<string, { seq: number; atMs: number }>()
  readonly #written: Written[] = []
  /** Batches that are not complete. They are kept in memory. */
  readonly #batches = new Map<string, { parts: BatchPart[]; atMs: number }>()
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
    const known = this.#knownOf(options.msgId)
    if (known !== null) return { seq: known, duplicate: true }
    this.#compare(subject, options.expectLast)
    return { seq: this.#store(subject, data, options), duplicate: false }
  }

  /** Takes one message of a batch. @returns null until the last one, which stores all of them or throws and stores none */
  takePart(part: BatchPart): BatchAck | null {
    const nowMs = this.#now()
    const known = this.#batches.get(part.id)
    const parts = known !== undefined && nowMs - known.atMs < BATCH_SILENCE_MS ? known.parts : []
    if (part.place !== parts.length + 1) {
      this.#batches.delete(part.id)
      throw refuse(10176, 'batch publish is incomplete and was abandoned')
    }
    parts.push(part)
    if (!part.isLast) {
      this.#batches.set(part.id, { parts, atMs: nowMs })
      return null
    }
    this.#batches.delete(part.id)
    for (const [place, { subject, msgId, expectLast }] of parts.entries()) {
      if (this.#knownOf(msgId) !== null) throw refuse(10201, 'batch publish contains duplicate message id')
      if (place > 0 && expectLast !== undefined) throw refuse(10164, 'wrong last sequence')
      this.#compare(subject, expectLast)
    }
    const size = parts.length
    this.batched += size
    for (const [place, { subject, data, ...options }] of parts.entries())
      this.#store(subject, data, options, { place, size })
    return { seq: this.lastSeq, count: size }
  }

  /** Sequence of what was published under the id within the window. */
  #knownOf(msgId: string | undefined): number | null {
    const known = msgId === undefined ? undefined : this.#ids.get(msgId)
    return known !== undefined && this.#now() - known.atMs < this.#windowMs ? known.seq : null
  }

  #compare(subject: string, expectLast: number | undefined): void {
    const last = this.lastOf(subject)?.seq ?? 0
    if (expectLast !== undefined && last !== expectLast) throw refuse(10071, `wrong last sequence: ${last}`)
  }

  #store(subject: string, data: Uint8Array, options: PublishOptions, batch: Place | null = null): number {
    const { msgId, isMarker = false, keepOne = false, by = null } = options
    const atMs = this.#now()
    const replaced = keepOne ? this.lastOf(subject) : null
    const message = { seq: ++this.lastSeq, subject, data, atMs, isMarker, by }
    if (replaced !== null) this.#remove(replaced)
    this.#add(message)
    if (msgId !== undefined) this.#ids.set(msgId, { seq: message.seq, atMs })
    this.#written.push({ message, replaced, msgId, batch })
    for (const tell of this.#watchers) tell(message)
    return message.seq
  }

  /**
   * What was written after that time was not on the disk when the machine went down. A batch is whole for those who read; the disk
   * may have a part of it.
   * @param kept part of the oldest batch that was lost which was on the disk, 0 <= x < 1
   * @returns what was lost, the newest first
   */
  goBack(sinceMs: number, kept = 0): Stored[] {
    const lost: Stored[] = []
    this.#batches.clear()
    for (let last = this.#written.at(-1); last !== undefined && last.message.atMs > sinceMs; ) {
      const { message, replaced, msgId, batch } = last
      if (batch !== null && batch.place < Math.floor(kept * batch.size) && this.#beganBefore(sinceMs, batch)) break
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

  /** Whether what stands before the batch of the newest write is no later than that time. */
  #beganBefore(sinceMs: number, { place }: Place): boolean {
    const before = this.#written.at(-2 - place)
    return before === undefined || before.message.atMs <= sinceMs
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
