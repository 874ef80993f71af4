/** One run: a broker, mailboxes, processes, and what befalls them, all from one seed. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  accountKey,
  BUCKET_ACCOUNTS,
  BUCKET_LEASES,
  BUCKET_STATE,
  bucketStream,
  EVENT_STREAM,
  SNAPSHOT_STREAM,
} from '#shared/subjects.ts'
import { type AccountRef, compareEpochs, type Epoch } from '../../services/mail/base/model.ts'
import type { CheckpointRecord } from '../../services/mail/kv/checkpoint.ts'
import { readLanes } from '../../services/mail/store/lanes.ts'
import { publishedIds } from '../../services/mail/store/messages.ts'
import type { UserReader } from '../../services/mail/store/user-store.ts'
import { connected } from '../mail/kv/support.ts'
import { misnamedMails, misnamedRows } from '../mail/store/support.ts'
import { Books } from './books.ts'
import { Broker, type Stored } from './broker.ts'
import { Chance } from './chance.ts'
import { Mailbox } from './mailbox.ts'
import type { Mutant } from './mutants.ts'
import type { Losses } from './plot.ts'
import { SimProcess, type Surroundings } from './process.ts'
import { Timeline } from './timeline.ts'

type Checkpoint = Pick<CheckpointRecord, 'epoch' | 'lanes'>

/** Where there are files that need no disk, there. */
const FOLDER = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()
const WINDOW_MS = 1_000
/** Of published rows: what the stream has lost is then made anew out of the mail, or found in the outbox. */
const KEPT_MS = [2_000, 86_400_000] as const
const STREAMS = {
  events: EVENT_STREAM,
  leases: bucketStream(BUCKET_LEASES),
  state: bucketStream(BUCKET_STATE),
  snapshots: SNAPSHOT_STREAM,
}
const encoder = new TextEncoder()
const decoder = new TextDecoder()

export class World implements Surroundings, Disposable {
  readonly timeline = new Timeline()
  readonly chance: Chance
  readonly broker: Broker
  readonly books: Books
  readonly silenceMs = 6_000
  readonly keepMs: number
  readonly mutant: Mutant | null
  readonly takesBatches: boolean
  readonly dir = mkdtempSync(join(FOLDER, 'mail-sim-'))
  readonly mailboxes = new Map<string, Mailbox>()
  readonly processes: SimProcess[] = []
  readonly faults: string[] = []
  /** Of the newest checkpoint of each user. */
  readonly #checkpoints = new Map<string, Epoch>()
  /** Of whoever has adopted a database last, by disk and user. */
  readonly #adopted = new Map<string, Epoch>()
  /** How often each disk was lost. */
  readonly #lost = new Map<string, number>()
  #isDown = false
  /** What has happened. */
  readonly tally = { events: 0, batched: 0, crashes: 0, disks: 0, taken: 0 }

  constructor(seed: number, mutant: Mutant | null, takesBatches = false) {
    this.chance = new Chance(seed)
    this.mutant = mutant
    this.takesBatches = takesBatches
    this.keepMs = this.chance.pick(KEPT_MS)
    this.broker = new Broker(() => this.timeline.nowMs, WINDOW_MS)
    this.books = new Books(this.broker)
    this.broker.stream(STREAMS.state).watch((message) => this.#checkpointed(message))
  }

  [Symbol.dispose](): void {
    for (const { life } of this.processes) {
      life.onDeath = () => undefined
      life.die()
    }
    for (const each of this.processes) each.loseDisk()
    rmSync(this.dir, { recursive: true, force: true })
  }

  fail(what: string): void {
    this.faults.push(`${Math.round(this.timeline.nowMs)} ms: ${what}`)
  }

  mailboxOf(user: string): Mailbox {
    const found = this.mailboxes.get(user)
    if (found === undefined) throw new Error(`nobody has the mailbox of ${user}`)
    return found
  }

  connect(user: string, mails: number): void {
    this.mailboxes.set(user, new Mailbox(user, mails))
    const record = encoder.encode(JSON.stringify(connected()))
    this.broker
      .stream(bucketStream(BUCKET_ACCOUNTS))
      .publish(`$KV.${BUCKET_ACCOUNTS}.${accountKey(user, 'google', 'primary')}`, record, { keepOne: true })
  }

  start(name: string): SimProcess {
    const made = new SimProcess(this, name)
    if (this.#isDown) made.link.drop()
    this.processes.push(made)
    return made
  }

  diskOf(name: string): string {
    return `${name}${this.#lost.get(name) ?? 0}`
  }
  /** Of a process that is gone; not while another one lives on it. */
  loseDisk(gone: SimProcess): void {
    if (this.processes.some((each) => each.name === gone.name && !each.hasEnded)) return
    gone.loseDisk()
    this.#lost.set(gone.name, (this.#lost.get(gone.name) ?? 0) + 1)
    this.tally.disks += 1
  }

  /** The machine of NATS goes down, and comes back without what each stream had not brought to the disk. */
  fall(lostMs: Losses, downMs: number): void {
    if (this.#isDown) return
    this.#isDown = true
    this.broker.falls += 1
    for (const { link } of this.processes) link.drop()
    for (const [key, name] of Object.entries(STREAMS)) {
      const sinceMs = Math.max(0, this.timeline.nowMs - lostMs[key as keyof Losses])
      const lost = this.broker.stream(name).goBack(sinceMs, this.takesBatches ? this.chance.unit() : 0)
      if (name === STREAMS.events) this.books.takeBack(lost)
      if (name === STREAMS.events) this.tally.taken += lost.length
    }
    this.#checkpoints.clear()
    for (const message of this.broker.stream(STREAMS.state).messages)
      if (!message.isMarker) this.#checkpoints.set(userOf(message), recordOf(message).epoch)
    this.timeline.after(downMs, () => {
      this.#isDown = false
      for (const { link } of this.processes) link.restore()
    })
  }

  get isComplete(): boolean {
    if (this.#isDown) return false
    return [...this.mailboxes].every(([user, { count, ids }]) => {
      const published = this.books.published(user)
      return published.size >= count && ids.every((id) => published.has(id))
    })
  }

  /** Every message of the events, with its place and time. */
  get trace(): string {
    return [...this.broker.stream(EVENT_STREAM).messages]
      .map(({ seq, atMs, data }) => `${seq} ${atMs.toFixed(3)} ${JSON.parse(decoder.decode(data)).provider_message_id}`)
      .join('\n')
  }

  /** Lost, twice, or out of order. */
  audit(): void {
    this.tally.batched = this.broker.stream(STREAMS.events).batched
    for (const [user, { ids }] of this.mailboxes) {
      const published = this.books.published(user)
      this.tally.events += published.size
      for (const id of ids) if (!published.has(id)) this.fail(`lost: ${id}`)
      for (const [id, count] of published) if (count > 1) this.fail(`twice: ${id}`)
      for (const [first, second] of this.books.outOfOrder(user))
        this.fail(`out of order: ${first} was stored after ${second}`)
    }
  }

  adopted(disk: string, user: string, epoch: Epoch): void {
    this.#adopted.set(`${disk} ${user}`, epoch)
  }

  /**
   * No write of a past term after the next one has adopted the database; no position that has passed what is nowhere; no row
   * that waits and no mail that the ledger does not name.
   */
  written(disk: string, user: string, epoch: Epoch, reader: UserReader): void {
    const owner = this.#adopted.get(`${disk} ${user}`)
    if (owner === undefined || compareEpochs(owner, epoch) !== 0)
      this.fail(`term ${epoch.rev} has written to a database of term ${owner?.rev}`)
    this.books.written(disk, user, reader)
    for (const row of misnamedRows(reader)) this.fail(`the ledger of ${user} is wrong about row ${row} of the outbox`)
    for (const row of misnamedMails(reader)) this.fail(`the ledger of ${user} is wrong about the mail in row ${row}`)
    const mailbox = this.mailboxOf(user)
    const account: AccountRef = { userId: user, provider: 'google', inboxId: 'primary' }
    const published = this.books.published(user)
    for (const { lane, cursor, done } of readLanes(reader, account)) {
      const ids = mailbox.passed(lane, cursor, done).filter((id) => !published.has(id) && !this.books.wasTakenBack(id))
      if (ids.length === 0) continue
      const there = publishedIds(reader, account, ids)
      for (const id of ids)
        if (!there.has(id)) this.fail(`a position on the disk at ${lane} ${cursor} has passed ${id}`)
    }
  }

  /** W4: a checkpoint never runs ahead of the stream, and what a later term has written no earlier one replaces. */
  #checkpointed(message: Stored): void {
    if (message.isMarker) return
    const [user, record] = [userOf(message), recordOf(message)]
    const [published, before] = [this.books.published(user), this.#checkpoints.get(user)]
    if (before !== undefined && compareEpochs(record.epoch, before) < 0)
      this.fail(`a checkpoint of term ${record.epoch.rev} has replaced one of term ${before.rev}`)
    this.#checkpoints.set(user, record.epoch)
    for (const { lane, cursor, done } of Object.values(record.lanes).flat())
      for (const id of this.mailboxOf(user).passed(lane, cursor, done))
        if (!published.has(id) && !this.books.wasTakenBack(id))
          this.fail(`a checkpoint at ${lane} ${cursor} has passed ${id}, which is not on the stream`)
  }
}

/** The names of the users here are their own keys. */
const userOf = ({ subject }: Stored): string => subject.slice(`$KV.${BUCKET_STATE}.`.length)
const recordOf = ({ data }: Stored): Checkpoint => JSON.parse(decoder.decode(data))
